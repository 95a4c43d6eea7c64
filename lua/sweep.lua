-- sweep: remove some of the rows that deleted and reset consumers left. consumer_info does too.
-- uses: leftovers
-- KEYS[1]  broker:{S}
-- returns  [again = 1]; or OK: nothing is left
-- errors   STREAM_NOT_FOUND
-- cost     O(log n), 200 rows
local s = open_stream(KEYS[1])
if not s then return redis.error_reply('STREAM_NOT_FOUND no such stream') end
free_first(s)
return sweep(s) and redis.status_reply('OK') or { 1 }
