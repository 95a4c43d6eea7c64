-- redrive: put dead letters back for this consumer alone; their deliver count starts again.
-- uses: entries holding ordering fence delivery expiry settle
-- KEYS[1]  broker:{S}
-- ARGV     consumer; dry_run: 1 = only count; then message ids
-- returns  [redriven, gone: no longer in the stream, and so left where they are]
-- errors   CONSUMER_NOT_FOUND
-- cost     O(ids · log n)
local s, c = enter(KEYS[1], ARGV[1])
if not c then return redis.error_reply('CONSUMER_NOT_FOUND no such consumer') end
if not expire(s, c) then return { 1 } end
local redriven, gone, seen = 0, 0, {}
for i = 3, #ARGV do
  local id = ARGV[i]
  local dead_id = not seen[id] and redis.call('HGET', c.dead_ids, id)
  seen[id] = true
  if dead_id and #redis.call('XRANGE', s.log, id, id) == 0 then
    gone = gone + 1
  elseif dead_id then
    redriven = redriven + 1
    if ARGV[2] ~= '1' then
      local f = redis.call('XRANGE', c.dead, dead_id, dead_id)[1][2]
      -- The delivery number goes on growing, so that no old token is good again; all deliveries so far are given back.
      local number = tonumber(f[4])
      put_back(s, c, id, number, number, f[12], f[8], 0)
      if c.keyed then wait_for_key(s, c, id) end
      redis.call('XDEL', c.dead, dead_id)
      redis.call('HDEL', c.dead_ids, id)
    end
  end
end
if redriven > 0 and ARGV[2] ~= '1' then wake(s, c.name) end
return { redriven, gone }
