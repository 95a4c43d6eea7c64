-- consumer_upkeep: bounded steps that bring a consumer's index and position up to date before they are used.

-- The letters of a canonical filter's fields, the most selective first.
local function filter_letters(canonical)
  local letters = ''
  for _, key in ipairs(TERM_KEYS) do
    -- Inside a pattern each quote has a backslash before it.
    if string.find(canonical, '"' .. key[1] .. '":[', 1, true) then letters = letters .. key[2] end
  end
  return letters
end

-- Calls `add` with the member and the place of each entry of a range that may be delivered for the first time. Returns
-- what walk returns.
local function index_range(s, from, to, add)
  return walk(s, from, to, function(entry)
    if not (s.schedules and has_lapsed(s, entry[1])) then
      add(sortable(entry[1]), place_of(routing_fields(s, entry)))
    end
  end)
end

-- One step of the indexing that publishing has left. True: nothing is left.
local function index_more(s)
  local r, leaving, at = routing_of(s), s.key .. KEY.leaving, 0
  local rows = redis.call('ZRANGE', leaving, 0, 99)
  while at < #rows and (at == 0 or spend(s, 1)) do
    at = at + 1
    note(s, r.left, string.match(rows[at], '^(%S+) (.*)$'))
  end
  if at > 0 then redis.call('ZREM', leaving, unpack(rows, 1, at)) end
  local done = at == #rows and at < 100
  if done then redis.call('HDEL', s.key .. KEY.filters, '#leaving') end
  if done and r.from then
    r.from, done = index_range(s, r.from, s.seen, function(...) note(s, r.added, ...) end)
    if done then
      redis.call('HDEL', s.key .. KEY.filters, '#from')
      r.from = false
    else
      redis.call('HSET', s.key .. KEY.filters, '#from', r.from)
    end
  end
  write_indexes(s)
  return done
end

-- One step of building a new filter's index over the entries that were there before it. True: the index is complete.
local function build_index(s, id)
  local key = s.key .. KEY.filters
  local from, to, canonical = unpack(redis.call('HMGET', key, id .. ':at', id .. ':until', id))
  local letters, matching, members = filter_letters(canonical), {}, {}
  local others = string.sub(letters, 2)
  local last, done = index_range(s, from, to, function(member, place)
    if matching[place] == nil then
      local terms = terms_of(s, place)
      matching[place] = is_registered(s, terms[string.sub(letters, 1, 1)], '', id .. others)
        and others_match(s, terms, id, others)
    end
    if matching[place] then table.insert(members, member) end
  end)
  routing_of(s).added[id] = #members > 0 and members or nil
  write_indexes(s)
  if done then redis.call('HDEL', key, id .. ':at', id .. ':until') else redis.call('HSET', key, id .. ':at', last) end
  return done
end

-- `deliver_policy: last` with an index: only a complete index knows which message is the last.
local function place_at_last(s, c)
  local last = redis.call('ZREVRANGEBYLEX', c.index, '[' .. sortable(c.cursor), '-', 'LIMIT', 0, 1)[1]
  if last then
    c.cursor = id_before(stream_id(last))
    redis.call('XGROUP', 'SETID', s.log, c.name, c.cursor)
  end
  redis.call('HSET', c.key, 'cursor', c.cursor, 'began', c.cursor)
  redis.call('HDEL', c.key, 'start')
  c.start = nil
end

-- Finds an unfiltered event consumer's position as a number. Until the log reaches its start, it has none.
local function place(s, c)
  local ahead = sortable(c.cursor) > sortable(s.seen)
  c.start = ahead and 'ahead' or nil
  if ahead then
    redis.call('HSET', c.key, 'start', 'ahead')
    return
  end
  c.position = number_before(s, entries_after(s.log, c.cursor, 1)[1])
  redis.call('HSET', c.key, 'position', c.position)
  redis.call('HDEL', c.key, 'start')
end

-- Plain XREADGROUPs move the group without a sign: ask Redis for its position now and then.
local function sync_cursor(s, c)
  if not sync_due(s, c) then return end
  if plain_reads(s, c) then
    c.cursor = group_position(s, c.name) or c.cursor
    if not c.index then place(s, c) end
  end
  c.synced_at = s.now
  redis.call('HSET', c.key, 'cursor', c.cursor, 'synced_at', c.synced_at)
end

-- After a step of Redis' clock the PEL misstates how long rows have been out: keep what was delivered before (idle_of).
local function note_step(s, c)
  if c.steps == s.steps then return end
  c.steps, c.stepped_at, c.stepped_id = s.steps, s.now, group_position(s, c.name) or '0-0'
  redis.call('HSET', c.key, 'stepped', string.format('%d %.0f %s', c.steps, c.stepped_at, c.stepped_id))
end

-- What a consumer needs before its messages are counted or delivered. False: it did one step; call again.
local function ready(s, c)
  if not up_to_date(s) then return false end
  if c.filtered then
    if s.kind == 'events' then s.bound = member_bound(first_entry(s)) end
    local found = redis.call('HMGET', s.key .. KEY.filters, '#from', '#leaving', c.filter .. ':at')
    local waiting, leaving, at = unpack(found)
    if (waiting or leaving) and not index_more(s) or at and not build_index(s, c.filter) then return false end
    if s.bound and not drop_old(s, c.index, s.bound) then return false end
  end
  if c.start == 'last' then place_at_last(s, c) elseif c.start then place(s, c) end
  sync_cursor(s, c)
  note_step(s, c)
  return true
end
