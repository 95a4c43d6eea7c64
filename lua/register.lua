-- register: change rows of a registry, unless it has changed since the caller read it. Whether an object exists is
-- stored elsewhere, so a caller reads the rows, looks there, and then changes them (lua/README.md).
-- KEYS[1]  a registry
-- ARGV     its version that the caller read, the row with the empty name ('' = none yet); a new one (random); then
--          set, name and value; or remove and 1 to 500 names
-- returns  1; 0 = the registry has changed: nothing was done, read again
-- errors   none
-- cost     O(names)
local version, new_version, change = ARGV[1], ARGV[2], ARGV[3]
if (redis.call('HGET', KEYS[1], '') or '') ~= version then return 0 end
if change == 'set' then redis.call('HSET', KEYS[1], ARGV[4], ARGV[5])
else redis.call('HDEL', KEYS[1], unpack(ARGV, 4)) end
redis.call('HSET', KEYS[1], '', new_version)
return 1
