-- consumer_delete: delete a consumer with all its delivery state.
-- uses: filters entries holding ordering due forgetting schedule upkeep consumer_upkeep routes leftovers lifecycle
-- KEYS[1]  broker:{S}
-- ARGV     name; [the epoch of the life that is meant: '' = any]
-- returns  OK
-- errors   CONSUMER_NOT_FOUND
-- cost     O(deliveries out); waiting messages leave rows without a meaning, which sweep and later calls remove
local s, c = enter(KEYS[1], ARGV[1])
if not c or (ARGV[2] or '') ~= '' and ARGV[2] ~= c.epoch then
  return redis.error_reply('CONSUMER_NOT_FOUND no such consumer')
end
remove_consumer(s, ARGV[1])
return redis.status_reply('OK')
