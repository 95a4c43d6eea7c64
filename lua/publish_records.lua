-- publish_records: upsert records, all or none. Of several versions of a record in one call, the last valid one wins.
-- uses: filters entries holding ordering due forgetting schedule upkeep durable
-- KEYS[1]  broker:{S}
-- ARGV     8 per record: id, collection_id, resource_id ('' = none), upstream_updated_at ('' = none) in microseconds
--          rounded down, with further digits after a point, the last of them not 0; digest (equal exactly if the
--          content is), deleted (1 or ''), lacks, body (see shared/entries.lua)
-- returns  two per record: status (created, updated, deleted, unchanged, stale), message id of the current version;
--          then, if the stream waits for replicas or the disk, [replicas, fsync, mark] (shared/durable.lua)
-- errors   STREAM_NOT_FOUND, WRONG_KIND
-- cost     O(records), independent of the number of filters; a record that many filters match enters some indexes in
--          later steps (shared/filters.lua)
local s = open_stream(KEYS[1])
if not s then return redis.error_reply('STREAM_NOT_FOUND no such stream') end
if s.kind ~= 'records' then return redis.error_reply('WRONG_KIND an event stream') end
keep_clock(s)
local reply = {}
spend(s, #ARGV / 8)

-- The current version of each record. `row`: the position in ARGV of a version that has yet to be stored.
local standing, records, names = {}, {}, {}
for i = 1, #ARGV, 8 do
  if not standing[ARGV[i]] then
    names[#names + 1] = ARGV[i]
    records[#names] = { key = ARGV[i] }
    standing[ARGV[i]] = records[#names]
  end
end
for i, stored in ipairs(redis.call('HMGET', s.key .. KEY.records, unpack(names))) do
  local r = records[i]
  if stored then
    r.id, r.inserted_at, r.updated_us, r.digest, r.place = string.match(stored, '^(%S+) (%d+) (%S*) (%S+) (.*)$')
  end
  r.stored_digest = r.digest
end

-- Whether a time is before another one, both in microseconds. Compared as text: doubles hold neither late times nor
-- fractions.
local function before(a, b)
  if a == '' or not b or b == '' then return false end
  local a_sign, a_whole, a_rest = string.match(a, '^(%-?)(%d+)%.?(%d*)$')
  local b_sign, b_whole, b_rest = string.match(b, '^(%-?)(%d+)%.?(%d*)$')
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

for i = 1, #ARGV, 8 do reply[#reply + 1], reply[#reply + 2] = judge(standing[ARGV[i]], i), '' end
local changed = {}
for i = 1, #ARGV, 8 do
  local r = standing[ARGV[i]]
  if r.row == i and r.digest ~= r.stored_digest then changed[#changed + 1] = r end
end

-- The old versions leave the stream, its indexes and the retry sets. If one is out, the PEL keeps its row.
local gone, gone_members, members, rows, new_at = {}, {}, {}, {}, string.format('%.0f', s.wall)
for i, r in ipairs(changed) do
  local collection_id, resource_id, lacks, body = ARGV[r.row + 1], ARGV[r.row + 2], ARGV[r.row + 6], ARGV[r.row + 7]
  s.idx = s.idx + 1
  local inserted_at = r.inserted_at or new_at
  local id = redis.call('XADD', s.log, '*', 'head', s.idx .. ' ' .. lacks .. ' ' .. inserted_at, 'body', body)
  if r.id then
    gone[#gone + 1], gone_members[#gone + 1] = r.id, sortable(r.id)
    unindex_entry(s, r.id, r.place)
  end
  note_size(s, #body)
  index_entry(s, id, collection_id, resource_id)
  r.id, s.seen = id, id
  members[2 * i - 1], members[2 * i] = 0, sortable(id)
  rows[2 * i - 1] = r.key
  rows[2 * i] = id .. ' ' .. inserted_at .. ' ' .. r.updated_us .. ' ' .. r.digest .. ' '
    .. place_of(collection_id, resource_id)
end
if #changed > 0 then
  redis.call('ZADD', s.key .. KEY.index_all, unpack(members))
  redis.call('HSET', s.key .. KEY.records, unpack(rows))
  redis.call('HSET', s.key, 'idx', s.idx, 'seen', s.seen)
end
if #gone > 0 then
  redis.call('XDEL', s.log, unpack(gone))
  redis.call('ZREM', s.key .. KEY.index_all, unpack(gone_members))
  if redis.call('EXISTS', s.key .. KEY.retrying) == 1 then
    local count, scored = drop_records(s, gone_members), {}
    for i = count + 1, #gone_members do scored[#scored + 1], scored[#scored + 2] = 0, gone_members[i] end
    if #scored > 0 then
      redis.call('ZADD', s.key .. KEY.gone, unpack(scored))
      redis.call('HSET', s.key, 'dropping', 1)
    end
  end
end
write_indexes(s)
for i = 1, #ARGV, 8 do
  local r, at = standing[ARGV[i]], (i - 1) / 4
  reply[at + 2] = r.id
  -- If the last version equals the stored one, those between were never stored.
  if r.digest == r.stored_digest and reply[at + 1] ~= 'stale' then reply[at + 1] = 'unchanged' end
end
append_mark(s, reply)
return reply
