-- register: change rows of a registry that have not changed since the caller read them. Whether an object exists is
-- stored elsewhere, so a caller reads its row, looks there, and then changes the row (lua/README.md). The field `:name`
-- is the version of the row `name`.
-- KEYS[1]  a registry
-- ARGV     set, value, name, the version that was read ('' = none), a new one (random); or remove, and two per row,
--          500 at most: name and the version that was read
-- returns  how many rows were changed; the others have changed meanwhile: read them again
-- errors   none
-- cost     O(rows)
local change, count = ARGV[1], 0
local function is_as_read(name, version)
  return (redis.call('HGET', KEYS[1], ':' .. name) or '') == version
end
if change == 'set' then
  if not is_as_read(ARGV[3], ARGV[4]) then return 0 end
  redis.call('HSET', KEYS[1], ARGV[3], ARGV[2], ':' .. ARGV[3], ARGV[5])
  return 1
end
for i = 2, #ARGV, 2 do
  if is_as_read(ARGV[i], ARGV[i + 1]) then
    count = count + math.min(1, redis.call('HDEL', KEYS[1], ARGV[i], ':' .. ARGV[i]))
  end
end
return count
