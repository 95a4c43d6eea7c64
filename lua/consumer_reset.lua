-- consumer_reset: drop all delivery state and start again. Earlier tokens are stale.
-- uses: filters entries holding ordering due forgetting schedule upkeep consumer_upkeep routes leftovers lifecycle
-- KEYS[1]  broker:{S}
-- ARGV     name; start (all, new, last, at:ms, ago:ms); deliver_policy as given; epoch, as for consumer_create
-- returns  [again = 1]; or OK
-- errors   CONSUMER_NOT_FOUND
-- cost     O(deliveries out); waiting messages leave rows, as for consumer_delete
local s, c = enter(KEYS[1], ARGV[1])
if not c then return redis.error_reply('CONSUMER_NOT_FOUND no such consumer') end
if not up_to_date(s) then return { 1 } end
forget_deliveries(s, c.name)
redis.call('HSET', c.key, 'deliver_policy', ARGV[3], 'updated_at', s.wall)
begin(s, c.key, c.name, ARGV[2], c.index, ARGV[4])
wake(s, c.name)
return redis.status_reply('OK')
