-- publish_records: upsert records, all or none.
-- uses: filters entries upkeep
-- KEYS[1]  broker:{S}
-- ARGV     7 a record: id, collection_id, resource_id ('' = none), upstream_updated_at in microseconds ('' = none),
--          digest (equal exactly where the content is), deleted (1 or ''), body: its JSON object without what the store
--          adds (idx, inserted_at, stream_id)
-- returns  2 a record: status (created, updated, deleted, unchanged, stale), message id of the current version
-- errors   STREAM_NOT_FOUND, WRONG_KIND
-- cost     O(records), however many filters are in use
local s = open_stream(KEYS[1])
if not s then return redis.error_reply('STREAM_NOT_FOUND no such stream') end
if s.kind ~= 'records' then return redis.error_reply('WRONG_KIND an event stream') end
local now, memo, reply = now_ms(), {}, {}
local started_with, routed = s.idx, redis.call('EXISTS', s.key .. ':routes') == 1

-- The old version leaves the stream, its indexes and the retry sets. Where it is out, the PEL keeps its row.
local function remove(id)
  local member, old = sortable(id), routed and redis.call('XRANGE', s.log, id, id)[1]
  for _, index in ipairs(old and indexes_of(s, memo, routing_fields(old)) or { s.key .. ':index:all' }) do
    redis.call('ZREM', index, member)
  end
  redis.call('XDEL', s.log, id)
  drop_waiting(s, '[' .. member .. ':', '(' .. member .. ';')
end

for i = 1, #ARGV, 7 do
  local key, collection_id, resource_id, updated_us, digest = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
  local status, id, inserted_at, was_updated_us, was_digest = 'created', nil, nil, nil, nil
  local row = redis.call('HGET', s.key .. ':records', key)
  if row then id, inserted_at, was_updated_us, was_digest = string.match(row, '^(%S+) (%d+) (%S*) (%S+)$') end
  if was_digest == digest then
    status = 'unchanged'
  elseif row and tonumber(updated_us) and tonumber(was_updated_us) and tonumber(updated_us) < tonumber(was_updated_us) then
    status = 'stale'
  else
    if row then
      remove(id)
      status = ARGV[i + 5] == '1' and 'deleted' or 'updated'
    end
    s.idx = s.idx + 1
    inserted_at = inserted_at or string.format('%.0f', now)
    local fields = { 'idx', s.idx, 'body', ARGV[i + 6], 'inserted_at', inserted_at, 'collection_id', collection_id, 'key', key }
    if resource_id ~= '' then fields[#fields + 1], fields[#fields + 2] = 'resource_id', resource_id end
    id = redis.call('XADD', s.log, '*', unpack(fields))
    s.seen = id
    for _, index in ipairs(indexes_of(s, memo, collection_id, resource_id ~= '' and resource_id or nil)) do
      redis.call('ZADD', index, 0, sortable(id))
    end
    redis.call('HSET', s.key .. ':records', key, table.concat({ id, inserted_at, updated_us, digest }, ' '))
  end
  reply[#reply + 1], reply[#reply + 2] = status, id
end
if s.idx > started_with then redis.call('HSET', s.key, 'idx', s.idx, 'seen', s.seen) end
return reply
