-- publish_events: append events, all or none.
-- uses: filters entries holding ordering due forgetting schedule upkeep durable
-- KEYS[1]  broker:{S}
-- ARGV     7 per event: dedupe key ('' = none), collection_id, resource_id ('' = none), lacks, body (see
--          shared/entries.lua), deliver at in ms ('' = now), time to live in ms from then on ('' = no limit)
-- returns  [again = 1]: nothing is stored, call again; else two per event: status (created, duplicate), message id (for
--          a duplicate that of the first one; '' = delayed); then, if the stream waits for replicas or the disk,
--          [replicas, fsync, mark] (shared/durable.lua)
-- errors   STREAM_NOT_FOUND, WRONG_KIND
-- cost     O(events), independent of the number of filters; an event that many filters match enters some indexes in
--          later steps (shared/filters.lua)
local s = open_stream(KEYS[1])
if not s then return redis.error_reply('STREAM_NOT_FOUND no such stream') end
if s.kind ~= 'events' then return redis.error_reply('WRONG_KIND a record stream') end
keep_clock(s)
local reply = {}
local current, old, window = s.key .. KEY.dedupe, s.key .. KEY.dedupe_old, s.dedupe_window_ms
s.counted = catch_up(s)
if s.counted and not release_delayed(s) then -- events that came due earlier go first
  write_indexes(s)
  return { 1 }
end
spend(s, #ARGV / 7)
local started_with = s.idx

-- Two hashes remember ids: when the current one is a window old, it becomes the old one, whose ids no longer count.
local function turn_window()
  local since = tonumber(redis.call('HGET', current, '') or s.now)
  if s.now - since >= window then
    redis.call('UNLINK', old)
    redis.call('RENAME', current, old)
  end
  redis.call('HSETNX', current, '', string.format('%.0f', s.now))
  redis.call('PEXPIRE', current, 2 * window)
  redis.call('PEXPIRE', old, window)
end

local function published_as(dedupe_key)
  local row = redis.call('HGET', current, dedupe_key) or redis.call('HGET', old, dedupe_key)
  local id, at = string.match(row or '', '^(%S*) (%d+)$')
  if id and s.now - tonumber(at) < window then return id end
end

local remembers = false
for i = 1, #ARGV, 7 do
  local dedupe_key, status = window > 0 and ARGV[i] or '', 'created'
  local id
  if dedupe_key ~= '' then
    if not remembers then turn_window() end
    remembers = true
    id = published_as(dedupe_key)
  end
  if id then
    status = 'duplicate'
  else
    local due = tonumber(ARGV[i + 5]) or s.wall
    if due > s.wall then
      delay_event(s, ARGV[i + 5], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4], ARGV[i + 6])
      id = ''
    else
      id = append_event(s, nil, ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4], ARGV[i + 6])
    end
    if dedupe_key ~= '' then redis.call('HSET', current, dedupe_key, string.format('%s %.0f', id, s.now)) end
  end
  reply[#reply + 1], reply[#reply + 2] = status, id
end
if s.idx > started_with then
  redis.call('HSET', s.key, 'idx', s.idx, 'seen', s.seen)
end
trim(s)
drop_waiting(s)
write_indexes(s)
append_mark(s, reply)
return reply
