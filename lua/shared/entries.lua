-- entries: reading what lies in a log, whoever put it there.

-- The fields that decide where an entry belongs.
local function routing_fields(entry)
  local collection_id, resource_id = '', nil
  local f = entry[2]
  for i = 1, #f, 2 do
    if f[i] == 'collection_id' then collection_id = f[i + 1]
    elseif f[i] == 'resource_id' then resource_id = f[i + 1] end
  end
  return collection_id, resource_id
end

local function idx_of(s, entry)
  local idx = entry[2][1] == 'idx' and tonumber(entry[2][2])
  return idx or tonumber(redis.call('ZSCORE', s.key .. ':plain', sortable(entry[1])) or 0)
end

-- What a client needs of an entry: idx, inserted_at, body. inserted_at is ms for a record and '' for an event (the ms
-- of its id); for a plain XADD it is 'plain', and body is then the fields as a JSON object.
local function content_of(s, entry)
  local f = entry[2]
  -- Ours begin with idx and body; an idx that was not known when it was added is counted since.
  if f[1] == 'idx' and f[3] == 'body' then
    return tonumber(f[2]) or idx_of(s, entry), f[5] == 'inserted_at' and f[6] or '', f[4]
  end
  local fields = {}
  for i = 1, #f, 2 do fields[f[i]] = f[i + 1] end
  return idx_of(s, entry), 'plain', cjson.encode(fields)
end

-- Whether an event's time to live is over: it is not delivered for the first time.
local function has_lapsed(s, id)
  return redis.call('ZSCORE', s.key .. ':lapsed', sortable(id))
end

-- At most `limit` entries of a stream behind an id ('' = from the first), and the id to go on after ('' = that was all).
local function page(stream, after, limit)
  local entries = redis.call('XRANGE', stream, after == '' and '-' or '(' .. after, '+', 'COUNT', limit + 1)
  if #entries <= limit then return entries, '' end
  entries[limit + 1] = nil
  return entries, entries[limit][1]
end
