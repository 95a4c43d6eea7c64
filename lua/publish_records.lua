-- publish_records: upsert records, all or none. Of several versions of a record in one call, the last that counts stands.
-- uses: filters entries holding ordering schedule upkeep durable
-- KEYS[1]  broker:{S}
-- ARGV     8 a record: id, collection_id, resource_id ('' = none), upstream_updated_at ('' = none) in microseconds rounded
--          down and, behind a point, further digits, the last of them not 0; digest (equal exactly where the content is),
--          deleted (1 or ''), lacks, body (see shared/entries.lua)
-- returns  2 a record: status (created, updated, deleted, unchanged, stale), message id of the version that stands; behind
--          them, where the stream's publishes are waited for, [replicas, fsync, mark] (shared/durable.lua)
-- errors   STREAM_NOT_FOUND, WRONG_KIND
-- cost     O(records), however many filters are in use
local s = open_stream(KEYS[1])
if not s then return redis.error_reply('STREAM_NOT_FOUND no such stream') end
if s.kind ~= 'records' then return redis.error_reply('WRONG_KIND an event stream') end
keep_clock(s)
local memo, reply = {}, {}
local routed = redis.call('EXISTS', s.key .. ':routes') == 1

-- What stands of a record: `row` is the position in ARGV of a version that is yet to be stored.
local standing, keys = {}, {}
local function open_record(key)
  if not standing[key] then
    local stored = redis.call('HGET', s.key .. ':records', key)
    local r = { key = key }
    if stored then r.id, r.inserted_at, r.updated_us, r.digest = string.match(stored, '^(%S+) (%d+) (%S*) (%S+)$') end
    r.stored_digest = r.digest
    standing[key] = r
    keys[#keys + 1] = r
  end
  return standing[key]
end

-- Whether a time is before another one, both in microseconds: as text, for a double holds neither the late ones nor fractions.
local function before(a, b)
  local a_sign, a_whole, a_rest = string.match(a, '^(%-?)(%d+)%.?(%d*)$')
  local b_sign, b_whole, b_rest = string.match(b or '', '^(%-?)(%d+)%.?(%d*)$')
  if not a_sign or not b_sign then return false end
  if a_sign ~= b_sign then return a_sign == '-' end
  if a_whole == b_whole then return a_rest < b_rest end
  local smaller = #a_whole < #b_whole or #a_whole == #b_whole and a_whole < b_whole
  return smaller == (a_sign == '')
end

local function judge(r, i)
  local updated_us, digest = ARGV[i + 3], ARGV[i + 4]
  if r.digest == digest then return 'unchanged' end
  if before(updated_us, r.updated_us) then return 'stale' end
  local status = not r.digest and 'created' or ARGV[i + 5] == '1' and 'deleted' or 'updated'
  r.updated_us, r.digest, r.row = updated_us, digest, i
  return status
end

-- The old version leaves the stream, its indexes and the retry sets. Where it is out, the PEL keeps its row.
local function remove(id)
  local member, old = sortable(id), routed and redis.call('XRANGE', s.log, id, id)[1]
  for _, index in ipairs(old and indexes_of(s, memo, routing_fields(s, old)) or { s.key .. ':index:all' }) do
    redis.call('ZREM', index, member)
  end
  redis.call('XDEL', s.log, id)
  drop_waiting(s, '[' .. member .. ':', '(' .. member .. ';')
end

local function store(r)
  local collection_id, resource_id, lacks, body = ARGV[r.row + 1], ARGV[r.row + 2], ARGV[r.row + 6], ARGV[r.row + 7]
  if r.id then remove(r.id) end
  s.idx = s.idx + 1
  r.inserted_at = r.inserted_at or string.format('%.0f', s.wall)
  r.id = redis.call('XADD', s.log, '*', 'head', table.concat({ s.idx, lacks, r.inserted_at }, ' '), 'body', body)
  s.seen = r.id
  note_size(s, #body)
  for _, index in ipairs(indexes_of(s, memo, collection_id, resource_id ~= '' and resource_id or nil)) do
    redis.call('ZADD', index, 0, sortable(r.id))
  end
  redis.call('HSET', s.key .. ':records', r.key, table.concat({ r.id, r.inserted_at, r.updated_us, r.digest }, ' '))
end

for i = 1, #ARGV, 8 do reply[#reply + 1], reply[#reply + 2] = judge(open_record(ARGV[i]), i), '' end
local changed = {}
for _, r in ipairs(keys) do
  if r.digest ~= r.stored_digest then changed[#changed + 1] = r end
end
table.sort(changed, function(a, b) return a.row < b.row end)
for _, r in ipairs(changed) do store(r) end
if #changed > 0 then redis.call('HSET', s.key, 'idx', s.idx, 'seen', s.seen) end
for i = 1, #ARGV, 8 do
  local r, at = standing[ARGV[i]], (i - 1) / 4
  reply[at + 2] = r.id
  -- Where the last version is the one that stood before, those between came and went without a trace.
  if r.digest == r.stored_digest and reply[at + 1] ~= 'stale' then reply[at + 1] = 'unchanged' end
end
append_mark(s, reply)
return reply
