-- entries: reading what lies in a log, whoever put it there.
--
-- Ours have two fields. `head`: "idx lacks", of records "idx lacks inserted_at"; idx is empty where it was not known yet
-- (see catch_up), `lacks` are letters of the fields that the message does not have. `body`: the JSON object of the others;
-- it begins with collection_id, resource_id, key and id, in this order, as far as they are there.

-- A JSON string that begins at a position of the body: its text, and the position behind it.
local function text_at(body, at)
  local close = string.find(body, '["\\]', at + 1)
  if close and string.byte(body, close) == 34 then return string.sub(body, at + 1, close - 1), close + 1 end
  while close and string.byte(body, close) == 92 do close = string.find(body, '["\\]', close + 2) end
  if not close then return '', at end
  local read, texts = pcall(cjson.decode, '[' .. string.sub(body, at, close) .. ']')
  return read and texts[1] or '', close + 1
end

-- The text of a field that stands at this position, behind the comma, or nil and the same position.
local function field_at(body, at, name)
  local from = at + #name + 4
  if string.sub(body, at, from) ~= ',"' .. name .. '":"' then return nil, at end
  return text_at(body, from)
end

-- Whether the head of an event of ours has no number. The letters are those of broker/bodies.py.
local LACKS = ' [abcdehkru]*$'
local function lacks_number(head)
  return string.find(head, '^' .. LACKS)
end

-- An entry's values by the names of its fields.
local function fields_of(entry)
  local fields, f = {}, entry[2]
  for i = 1, #f, 2 do fields[f[i]] = f[i + 1] end
  return fields
end

-- Whether an entry is a plain client's. It may call its fields as we do: then it has no number in its head, or one that is not
-- its own. A stream that has such strays is marked (catch_up), so that the others need not look for them.
local function is_plain(s, entry)
  local f = entry[2]
  if f[1] ~= 'head' or f[3] ~= 'body' then return true end
  if not s.strays or lacks_number(f[2]) then return false end
  return redis.call('ZSCORE', s.key .. KEY.plain, sortable(entry[1])) or not string.find(f[2], '^%d+' .. LACKS)
end

-- The fields that decide where an entry belongs: collection_id, resource_id (nil = none).
local function routing_fields(s, entry)
  if is_plain(s, entry) then
    local fields = fields_of(entry)
    return fields.collection_id or '', fields.resource_id
  end
  local body = entry[2][4]
  local collection_id, at = text_at(body, 18)
  return collection_id, (field_at(body, at, 'resource_id'))
end

-- Where its key stands in most entries of ours: behind the collection, without an escape in either.
local KEY_PATTERNS = {
  events = '^{"collection_id":"[^"\\]*","key":"([^"\\]*)"', records = '^{"collection_id":"[^"\\]*","id":"([^"\\]*)"',
}

-- What per-key order goes by, in a body of ours: a record's id, an event's key. '' = none: unordered.
local function key_in(kind, body)
  local found = string.match(body, KEY_PATTERNS[kind])
  if found then return found end
  local _, at = text_at(body, 18)
  _, at = field_at(body, at, 'resource_id')
  return field_at(body, at, kind == 'records' and 'id' or 'key') or ''
end

-- The id of an event or a record, in a body of ours.
local function id_in(body)
  local _, at = text_at(body, 18)
  _, at = field_at(body, at, 'resource_id')
  _, at = field_at(body, at, 'key')
  return field_at(body, at, 'id') or ''
end

-- The same of any entry; a plain XADD's is its key or upstream_id.
local function key_of(s, entry)
  if not is_plain(s, entry) then return key_in(s.kind, entry[2][4]) end
  local fields = fields_of(entry)
  return fields.key or fields.upstream_id or ''
end

local function idx_of(s, entry)
  local idx = not is_plain(s, entry) and string.match(entry[2][2], '^%d+')
  return tonumber(idx or redis.call('ZSCORE', s.key .. KEY.plain, sortable(entry[1])) or 0)
end

-- What a client needs of an entry: head and body. For a plain XADD they are "idx plain" and its names and values as one JSON
-- list, in which bytes that are not UTF-8 stand as they are.
local function content_of(s, entry)
  local head, body = entry[2][2], entry[2][4]
  if is_plain(s, entry) then head, body = ' plain', cjson.encode(entry[2]) end
  if string.byte(head) == 32 then head = string.format('%.0f', idx_of(s, entry)) .. head end
  return head, body
end

-- The largest entry bounds how many may be read at once (MAX_ANSWER_BYTES).
local function note_size(s, bytes)
  if bytes <= s.largest then return end
  s.largest = bytes
  redis.call('HSET', s.key, 'largest', bytes)
end

-- What an entry may have as JSON, in bytes. A character of a plain client's field may be escaped by six.
local function size_of(entry)
  local bytes, f = 0, entry[2]
  for _, text in ipairs(f) do bytes = bytes + #text end
  return f[1] == 'head' and bytes or 6 * (bytes + #f)
end

-- Whether an event's time to live is over: it is not delivered for the first time.
local function has_lapsed(s, id)
  return redis.call('ZSCORE', s.key .. KEY.lapsed, sortable(id))
end

-- What a call looks at, which bounds its time. The size of entries is known when some are read, so it begins with one.
local ENTRIES_A_CALL, BYTES_A_CALL, ENTRIES_A_STEP = 500, 524288, 100

-- What `pick` gives for entries of a stream, but for nil, at most `limit`: after an id ('' = from the first) and up to `last`
-- ('' = the last one now); or with `back` the other way round, from the last and down to the first. Then the id to go on after ('' = that
-- was all), `last`, and how many entries and bytes it looked at. `room` ('' = all of an answer): bytes that what
-- is picked may have; with all of it there is room for one at least.
local function page(stream, after, last, limit, room, pick, back)
  room = tonumber(room) or MAX_ANSWER_BYTES
  local whole = room >= MAX_ANSWER_BYTES
  local found, looked, bytes, step = {}, 0, 0, 1
  if last == '' and not back then
    local newest = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
    last = newest and newest[1] or '0-0'
  end
  if after == GREATEST and not back then return found, '', last, 0, 0 end
  after = after == '' and (back and '+' or '0-0') or after
  local first = back and (redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1] or { GREATEST })[1]
  while looked < ENTRIES_A_CALL and bytes < BYTES_A_CALL do
    -- Where nothing lies before the id that it starts at, XREVRANGE goes through the whole stream.
    if back and after ~= '+' and sortable(after) <= sortable(first) then return found, '', last, looked, bytes end
    local entries = back and redis.call('XREVRANGE', stream, after == '+' and after or '(' .. after, last == '' and '-' or last, 'COUNT', step)
      or redis.call('XRANGE', stream, '(' .. after, last, 'COUNT', step)
    for i, entry in ipairs(entries) do
      local size, picked = size_of(entry), nil
      local fits = size + MESSAGE_BYTES <= room or whole and #found == 0
      if #found < limit then picked = pick(entry) end
      if #found == limit or picked and not fits then return found, after, last, looked + i - 1, bytes end
      if picked then room = room - size - MESSAGE_BYTES end
      after, found[#found + 1], bytes = entry[1], picked, bytes + size
    end
    if #entries < step then return found, '', last, looked + #entries, bytes end
    looked = looked + step
    step = math.min(ENTRIES_A_STEP, ENTRIES_A_CALL - looked, math.ceil((BYTES_A_CALL - bytes) * looked / bytes))
  end
  return found, after, last, looked, bytes
end

-- The fields of a dead letter, by name, or nil where it is not of this collection and reason ('' = any).
local function letter_of(row, collection_id, reason)
  local f = fields_of(row)
  if (collection_id == '' or collection_id == f.collection_id) and (reason == '' or reason == f.reason) then return f end
end
