-- consumer_info: a consumer's fields and counts, and why it gives nothing.
-- uses: filters entries holding ordering due forgetting schedule upkeep consumer_upkeep fence counts redelivery expiry ahead inspection leftovers
-- KEYS[1]  broker:{S}
-- ARGV     name; [to continue: blocked_after and waiting_after of the reply before]
-- returns  [again = 1]; else the reply. Where blocked_after or waiting_after is not '', this was a step: call again with both, add up
--          num_blocked, and take the least of oldest_pending.
--          num_blocked: parked ones in the first step, and others whose key is busy; num_new: messages that it has not reached, and parked ones;
--          idle: why it gives nothing, '' = it gives something, `new` = it gives something unless all of num_new are blocked;
--          oldest_pending: when its oldest message that waits was appended; oldest_ack_pending: when what is out longest was
--          delivered; times in ms, -1 = none
-- reply    again num_pending num_ack_pending num_dead num_redelivered paused num_retrying num_blocked num_new idle oldest_pending oldest_ack_pending blocked_after waiting_after / name value
-- errors   CONSUMER_NOT_FOUND
-- cost     O(log n), and the exhausted deliveries that it finds expired; a step looks at 500 messages whose key may be busy, and at
--          1000 rows of what waits, until one is its own. What is out longest is exact up to 20000 deliveries
local s, c = enter(KEYS[1], ARGV[1])
if not c then return redis.error_reply('CONSUMER_NOT_FOUND no such consumer') end
sweep(s)
if not (ready(s, c) and expire(s, c)) then return { 1 } end
local out, new = num_ack_pending(s, c), num_new(s, c)
local blocked, blocked_after = blocked_ahead(s, c, ARGV[2], new)
local oldest, waiting_after = oldest_set_back(s, c, ARGV[3])
if not ARGV[2] then
  blocked = blocked + num_parked(s, c)
  oldest = older(oldest, oldest_new(s, c, new))
end
local reply = { 0, num_pending(s, c), out, redis.call('XLEN', c.dead), num_redelivered(s, c), c.paused and 1 or 0, num_retrying(s, c),
  blocked, new + num_parked(s, c), idle_because(s, c, out, new), oldest or -1, oldest_out(s, c, out), blocked_after, waiting_after }
for _, value in ipairs(redis.call('HGETALL', c.key)) do reply[#reply + 1] = value end
keep_sweep(c)
return reply
