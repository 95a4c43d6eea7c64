-- purge: delete dead letters.
-- uses: entries holding ordering fence redelivery expiry
-- KEYS[1]  broker:{S}
-- ARGV     consumer; then message ids, or none = all
-- returns  [again = 1]; or how many were deleted
-- errors   CONSUMER_NOT_FOUND
-- cost     O(ids)
local s, c = enter(KEYS[1], ARGV[1])
if not c then return redis.error_reply('CONSUMER_NOT_FOUND no such consumer') end
if not expire(s, c) then return { 1 } end
if #ARGV == 1 then
  local count = redis.call('XLEN', c.dead)
  redis.call('UNLINK', c.dead, c.dead_ids)
  return count
end
local count = 0
for i = 2, #ARGV do
  local dead_id = redis.call('HGET', c.dead_ids, ARGV[i])
  if dead_id then
    redis.call('XDEL', c.dead, dead_id)
    redis.call('HDEL', c.dead_ids, ARGV[i])
    count = count + 1
  end
end
return count
