-- entries: reads the entries of a log, both ours and those of plain clients.
--
-- Ours have two fields. `head`: "idx lacks", for records "idx lacks inserted_at"; idx is empty if it was not known yet
-- (see catch_up), `lacks` are letters of the fields that the message lacks. `body`: the JSON object of the others;
-- it begins with collection_id, resource_id, key and id, in this order, as far as they are present.

-- A JSON string that begins at a position of the body: its text, and the position after it.
local function text_at(body, at)
  local close = string.find(body, '["\\]', at + 1)
  if close and string.byte(body, close) == 34 then return string.sub(body, at + 1, close - 1), close + 1 end
  while close and string.byte(body, close) == 92 do close = string.find(body, '["\\]', close + 2) end
  if not close then return '', at end
  local read, texts = pcall(cjson.decode, '[' .. string.sub(body, at, close) .. ']')
  return read and texts[1] or '', close + 1
end

-- The text of the field `name` and the position after it; nil and the same position if the field is not here.
local function field_at(body, at, name)
  local from = at + #name + 4
  if string.sub(body, at, from) ~= ',"' .. name .. '":"' then return nil, at end
  return text_at(body, from)
end

-- Whether the head of an entry of ours lacks its number. The letters are those of broker/messages/stored.py.
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

-- Whether an entry is a plain client's. A plain client may name its fields as we do: then the head has no number, or a
-- number that is not its own. A stream with such strays is marked (catch_up), so that other streams need not check.
local function is_plain(s, entry)
  local f = entry[2]
  if f[1] ~= 'head' or f[3] ~= 'body' then return true end
  if not s.strays or lacks_number(f[2]) then return false end
  return redis.call('ZSCORE', s.key .. KEY.plain, sortable(entry[1])) or not string.find(f[2], '^%d+' .. LACKS)
end

-- The fields that decide in which indexes an entry belongs: collection_id, resource_id (nil = none).
local function routing_fields(s, entry)
  if is_plain(s, entry) then
    local fields = fields_of(entry)
    return fields.collection_id or '', fields.resource_id
  end
  local body = entry[2][4]
  local collection_id, at = text_at(body, 18)
  return collection_id, (field_at(body, at, 'resource_id'))
end

-- Where the ordering key is in most entries of ours: after the collection_id, without an escape in either.
local KEY_PATTERNS = {
  events = '^{"collection_id":"[^"\\]*","key":"([^"\\]*)"', records = '^{"collection_id":"[^"\\]*","id":"([^"\\]*)"',
}

-- The ordering key in a body of ours: a record's id, an event's key. '' = none: unordered.
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

-- The ordering key of any entry; for a plain XADD it is its key or upstream_id.
local function key_of(s, entry)
  if not is_plain(s, entry) then return key_in(s.kind, entry[2][4]) end
  local fields = fields_of(entry)
  return fields.key or fields.upstream_id or ''
end

local function idx_of(s, entry)
  local idx = not is_plain(s, entry) and string.match(entry[2][2], '^%d+')
  return tonumber(idx or redis.call('ZSCORE', s.key .. KEY.plain, sortable(entry[1])) or 0)
end

-- What a client needs of an entry: head and body. For a plain XADD: "idx plain", and its names and values as one JSON
-- list, in which bytes that are not UTF-8 stay as they are.
local function content_of(s, entry)
  local head, body = entry[2][2], entry[2][4]
  if is_plain(s, entry) then head, body = ' plain', cjson.encode(entry[2]) end
  if string.byte(head) == 32 then head = string.format('%.0f', idx_of(s, entry)) .. head end
  return head, body
end

-- Keeps the size of the largest entry, which bounds how many may be read at once (MAX_ANSWER_BYTES).
local function note_size(s, bytes)
  if bytes <= s.largest then return end
  s.largest = bytes
  redis.call('HSET', s.key, 'largest', bytes)
end

-- An entry's size as JSON, in bytes, at most. Each character of a plain client's field, and of a dead letter's
-- last_nack_reason, may be escaped with six bytes.
local function size_of(entry)
  local bytes, f = 0, entry[2]
  for _, text in ipairs(f) do bytes = bytes + #text end
  if f[1] ~= 'head' then return 6 * (bytes + #f) end
  return f[11] == 'last_nack_reason' and bytes + 5 * #f[12] or bytes
end

-- Whether an event's time to live is over: it is not delivered for the first time.
local function has_lapsed(s, id)
  return redis.call('ZSCORE', s.key .. KEY.lapsed, sortable(id))
end

-- What a call looks at, at most: this bounds its time. Sizes are known only from reading some, so it reads one first.
local ENTRIES_A_CALL, BYTES_A_CALL, ENTRIES_A_STEP = 500, 524288, 100

-- What `pick` returns for entries of a stream, without nils, at most `limit`: after an id ('' = from the first) and up
-- to `last` ('' = the last one now); or, with `back`, in reverse, from the last down to the first. Returns them, the id
-- to continue after ('' = that was all), `last`, and how many entries and bytes it looked at. `room`: how many bytes
-- the picked entries may have ('' = a whole reply, which has room for at least one).
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
    -- If nothing is before the id that it starts at, XREVRANGE walks through the whole stream.
    if back and after ~= '+' and sortable(after) <= sortable(first) then return found, '', last, looked, bytes end
    local entries = back and redis.call('XREVRANGE', stream, after == '+' and after or '(' .. after,
      last == '' and '-' or last, 'COUNT', step)
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

-- The fields of a dead letter, by name, or nil if its collection_id or reason differs ('' = any).
local function letter_of(row, collection_id, reason)
  local f = fields_of(row)
  if (collection_id == '' or collection_id == f.collection_id) and (reason == '' or reason == f.reason) then
    return f
  end
end
