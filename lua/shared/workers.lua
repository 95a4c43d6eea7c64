-- workers: the names in the group under which workers read. They show in the PEL who has a message (C59).

local NEW_WORKERS = 1000

-- The group's consumer for a worker's name. Clients choose the names, so those with nothing out are dropped when
-- NEW_WORKERS more new names have come than were kept last time; `new_workers` counts up to there.
local function reader_for(s, c, worker)
  local reader = 'http:' .. worker
  if redis.call('XGROUP', 'CREATECONSUMER', s.log, c.name, reader) == 1
    and redis.call('HINCRBY', c.key, 'new_workers', 1) > NEW_WORKERS then
    local left = 0
    for _, row in ipairs(redis.call('XINFO', 'CONSUMERS', s.log, c.name)) do
      local name, pending = row[2], row[4]
      if pending == 0 and is_ours(name) and name ~= reader then redis.call('XGROUP', 'DELCONSUMER', s.log, c.name, name)
      else left = left + 1 end
    end
    redis.call('HSET', c.key, 'new_workers', -left)
  end
  return reader
end
