-- consumer_info: a consumer's fields and counts, and why it is idle.
-- uses: filters entries holding ordering due forgetting schedule upkeep consumer_upkeep fence counts redelivery expiry
-- uses: ahead inspection leftovers
-- KEYS[1]  broker:{S}
-- ARGV     name; [to continue: blocked_after and waiting_after of the previous reply]
-- returns  [again = 1]; else the reply. While blocked_after or waiting_after is not '', call again with both, add up
--          num_blocked, and take the smallest oldest_pending that is not -1.
--          num_blocked: messages whose ordering key is busy; the first step adds the parked ones;
--          num_new: messages that it has not reached, and parked ones;
--          idle: why next gives nothing, '' = it gives something, `new` = it does unless all of num_new are blocked;
--          oldest_pending: when its oldest waiting message was appended; oldest_ack_pending: when its longest delivery
--          out was made; times in ms, -1 = none
-- reply    again num_pending num_ack_pending num_dead num_redelivered paused num_retrying num_blocked num_new idle
--          oldest_pending oldest_ack_pending blocked_after waiting_after / name value
-- errors   CONSUMER_NOT_FOUND
-- cost     O(log n), and the exhausted deliveries that it finds expired. A step looks at 500 messages whose ordering
--          key may be busy, and at 1000 rows of waiting messages until one is its own. The longest delivery is exact up
--          to 20000 deliveries
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
local reply = { 0, num_pending(s, c), out, redis.call('XLEN', c.dead), num_redelivered(s, c), c.paused and 1 or 0,
  num_retrying(s, c), blocked, new + num_parked(s, c), idle_because(s, c, out, new), oldest or -1,
  oldest_out(s, c, out), blocked_after, waiting_after }
for _, value in ipairs(redis.call('HGETALL', c.key)) do reply[#reply + 1] = value end
keep_sweep(c)
return reply
