-- Part 5: the operations of a batch, and its reply.

local ops, results = unpack_(ARGV[6]), {}
local observer = PROC == ''
local proc_key = P .. 'proc:' .. PROC
local reaped = false
local watched = {}

if not observer then
  local known = redis.call('HMGET', proc_key, 'seq', 'reply', 'reaped')
  local last = tonumber(known[1] or 0)
  local adopting = ops[1] and ops[1][1] == 'adopt'
  if SEQ == last and known[2] then return known[2] end -- sent again, because its reply was lost
  if SEQ ~= last + 1 and not adopting then return pack({ 'behind', last }) end
  if known[3] then
    reaped = true
    rejoin()
  end
  redis.call('ZADD', P .. 'procs', NOW, PROC)
end

for _, dead in ipairs(redis.call('ZRANGEBYSCORE', P .. 'procs', '-inf', NOW - TTL)) do
  if dead ~= PROC then reap(dead) end
end

local function set_limit(name, tokens, u, p, per, tz, at)
  local s = scope(name)
  watched[name] = true
  if at < (s.at or 0) then return end -- the stored limit is newer
  if tokens < 0 and u < 0 and per == '' then return end
  if tokens >= 0 then s.lt = tokens end
  if u >= 0 then s.lu, s.lp = u, p end
  if per ~= '' then
    if per ~= s.per or tz ~= (s.tz or 'UTC') then s.ws, s.we = nil, nil end
    s.per, s.tz = per, tz
  end
  s.at, s.dirty = at, true
  free({ P .. 'at:' .. name })
end

-- Set the beginnings and ends of periods. They come from the process, because it has a time zone database. Return
-- true if a period is missing.
local function set_windows(names, windows)
  for _, name in ipairs(names) do
    local s = scope(name)
    local window = windows[name]
    if s.per and not s.we then
      if not window or window[1] > NOW or window[2] <= NOW or window[3] ~= s.per or window[4] ~= (s.tz or 'UTC') then
        return true
      end
      s.ws, s.we, s.dirty = window[1], window[2], true
    end
  end
  return false
end

local function reserve(id, a, names, own, wait, about, windows)
  for _, name in ipairs(names) do watched[name] = true end
  if lost then return { 'lost' } end
  if set_windows(names, windows) then return { 'window' } end
  local refusal = never(names, a)
  if refusal then return refusal end
  local name, what = full(names, a)
  local keys = chain(names)
  local place = ahead(keys) or (name and P .. 'at:' .. name)
  local due = not place and rates_due(a)
  if due then place = RATES end
  if not place then
    take(PROC, id, a, names, about)
    return { 'ok' }
  end
  if wait == 0 then
    if name then return { 'full', name, what, row(scope(name)) } end
    if due then return { 'late', '', 'rates', due < math.huge and due - NOW or -1 } end
    return { 'behind', string.sub(place, #P + 4) }
  end
  local wid = PROC .. '|' .. id
  queue_at(place, wid, {
    proc = PROC, id = id, a = a, s = names, own = own, about = about, t = NOW,
    seq = redis.call('HINCRBY', meta_key, 'seq', 1),
  })
  free({ place })
  if name and redis.call('ZCARD', P .. 'at:' .. name) == 1 then redis.call('PUBLISH', P .. 'all', 'yield') end
  return { 'wait' }
end

local function cancel(id)
  local wid = PROC .. '|' .. id
  local waiting = redis.call('HGET', P .. 'waiters', wid)
  if waiting then
    local waiter = unpack_(waiting)
    unqueue(wid, waiter)
    free(chain(waiter.s))
    return
  end
  local lease = get_lease(PROC, id)
  if lease then settle(id, ZERO, 0, lease.s, true) end
end

-- Called every few seconds: offer free room to all waiters again. Of the given ids, return those that no longer wait,
-- each with 1 if a lease was granted, else 0.
local function offer(ids)
  if not offered or NOW - tonumber(offered) > 4000 then
    redis.call('HSET', meta_key, 'offered', NOW)
    for _, place in ipairs(redis.call('SMEMBERS', P .. 'lines')) do
      if redis.call('EXISTS', place) == 1 then free({ place }) else redis.call('SREM', P .. 'lines', place) end
    end
  end
  local gone = {}
  for _, id in ipairs(ids) do
    if redis.call('HEXISTS', P .. 'waiters', PROC .. '|' .. id) == 0 then
      gone[#gone + 1] = { id, get_lease(PROC, id) and 1 or 0 }
    end
  end
  return gone
end

local function stop(name, reason)
  local s = scope(name)
  s.stop, s.dirty = reason, true
  redis.call('HSET', P .. 'stopped', name, reason)
  end_waiters(function(waiter)
    for _, other in ipairs(waiter.s) do if other == name then return true end end
    return false
  end, { 'stopped', name, reason })
  redis.call('PUBLISH', P .. 'all', 'stop')
end

local function resume(name)
  local s = scope(name)
  s.stop, s.dirty = nil, true
  redis.call('HDEL', P .. 'stopped', name)
  free({ P .. 'at:' .. name })
end

local function set_rates(tokens, requests, follow)
  new_rates()
  R.tpm = tokens
  for _, given in ipairs({ { 'tokens', tokens }, { 'requests', requests } }) do
    local kind, limit = given[1], given[2]
    if limit > 0 then
      local b = R.buckets[kind .. '|60000'] or { kind = kind, period = 60000, full = 0, refunds = true }
      b.limit, b.fixed, b.used = limit, true, nil
      R.buckets[kind .. '|60000'] = b
    end
  end
  if follow == 1 and R.follow ~= 1 then R.follow, R.unknown = 1, 1 end
end

-- Store the names of the ledger's own limits, if names are given. Return the stored names, for processes that give
-- no limits.
local function own(names)
  if #names > 0 then
    redis.call('DEL', P .. 'own')
    redis.call('RPUSH', P .. 'own', unpack(names))
  end
  local stored = redis.call('LRANGE', P .. 'own', 0, -1)
  for _, name in ipairs(stored) do watched[name] = true end
  return stored
end

local function bye()
  drop_slack()
  if redis.call('EXISTS', lease_key(PROC)) == 0 then
    redis.call('ZREM', P .. 'procs', PROC)
    redis.call('DEL', P .. 'sent:' .. PROC, P .. 'mail:' .. PROC)
    redis.call('PEXPIRE', P .. 'totals:' .. PROC, MONTH)
    redis.call('PEXPIRE', proc_key, MONTH)
  end
end

local function set_spent(name, a, tokens, cost)
  local s = scope(name)
  if tokens == 1 then s.si, s.so = a[1], a[2] end
  if cost == 1 then s.su, s.sp = a[3], a[4] end
  s.kn, s.dirty = KNOWN_ESTIMATED, true
  free({ P .. 'at:' .. name })
  redis.call('HSET', meta_key, 'lost', '0', 'seeded', '1')
  lost = false
  redis.call('PUBLISH', P .. 'all', 'seeded')
end

local function view()
  local processes, waiting, named = {}, {}, {}
  local alive = redis.call('ZRANGE', P .. 'procs', 0, -1, 'WITHSCORES')
  for i = 1, #alive, 2 do
    local proc = alive[i]
    local about = redis.call('HMGET', P .. 'proc:' .. proc, 'host', 'pid', 'since')
    local sent, held = 0, { 0, 0, 0, 0 }
    local open = redis.call('HGETALL', lease_key(proc))
    for j = 1, #open, 2 do
      held = plus(held, unpack_(open[j + 1]).a, 1)
      sent = sent + redis.call('SISMEMBER', P .. 'sent:' .. proc, open[j])
    end
    processes[#processes + 1] = {
      proc, about[1] or '', about[2] or '', tonumber(about[3] or 0), NOW - tonumber(alive[i + 1]), #open / 2, sent, held,
    }
  end
  for _, blob in ipairs(redis.call('HVALS', P .. 'waiters')) do
    local w = unpack_(blob)
    waiting[#waiting + 1] = { w.proc, w.seq, NOW - w.t, w.a, w.s, w.at == RATES and '' or string.sub(w.at, #P + 4) }
  end
  for _, name in ipairs(redis.call('SMEMBERS', P .. 'scopes')) do named[#named + 1] = row(scope(name)) end
  local buckets = {}
  if rates() then
    for _, b in pairs(R.buckets) do
      local left = b.used and (NOW >= b.full and b.limit or b.limit - b.used)
        or b.limit - math.max(0, b.full - NOW) * b.limit / b.period
      buckets[#buckets + 1] = { b.kind, b.limit, math.floor(left), b.period }
    end
  end
  return { processes, waiting, named, buckets, R and R.unknown or 0 }
end

for i, op in ipairs(ops) do
  local kind, result = op[1], {}
  if kind == 'reserve' then result = reserve(op[2], op[3], op[4], op[5], op[6], op[7], op[8])
  elseif kind == 'settle' then
    for _, name in ipairs(op[5]) do watched[name] = true end
    settle(op[2], op[3], op[4], op[5], op[6] == 1)
  elseif kind == 'cancel' then cancel(op[2])
  elseif kind == 'grow' then grow(op[2], op[3])
  elseif kind == 'slack' then
    watched[op[2]] = true
    result = change_slack(op[2], op[3])
  elseif kind == 'sent' then
    if get_lease(PROC, op[2]) then redis.call('SADD', P .. 'sent:' .. PROC, op[2]) end
  elseif kind == 'offer' then result = offer(op[2])
  elseif kind == 'limit' then set_limit(op[2], op[3], op[4], op[5], op[6], op[7], op[8] >= 0 and op[8] or NOW)
  elseif kind == 'watch' then for _, name in ipairs(op[2]) do watched[name] = true end
  elseif kind == 'own' then result = own(op[2])
  elseif kind == 'hello' then redis.call('HSET', proc_key, 'host', op[2], 'pid', op[3], 'since', NOW)
  elseif kind == 'rates' then set_rates(op[2], op[3], op[4])
  elseif kind == 'retry' or kind == 'learn' then
    local lease = get_lease(PROC, op[2])
    if lease then
      if kind == 'retry' then rates_retry(lease) else result = { rates_learn(lease, op[3], op[4]) } end
      put_lease(PROC, op[2], lease)
      free({ RATES })
    end
  elseif kind == 'stop' then stop(op[2], op[3])
  elseif kind == 'resume' then resume(op[2])
  elseif kind == 'adopt' then adopt(op[2], op[3], seeded)
  elseif kind == 'bye' then bye()
  elseif kind == 'reap' then
    result = { redis.call('ZSCORE', P .. 'procs', op[2]) and 1 or 0 }
    if result[1] == 1 then reap(op[2]) end
  elseif kind == 'set_spent' then set_spent(op[2], op[3], op[4], op[5])
  elseif kind == 'view' then result = view()
  end
  results[i] = result
end

if redis.call('EXISTS', RATES) == 1 then free({ RATES }) end
for _, s in ipairs(touched) do if s.rolled then free({ P .. 'at:' .. s.name }) end end
if not lost then wake() end
for name in pairs(watched) do scope(name) end
save_rates()
save_totals()
save_scopes()

local rows, letters = {}, grants
for _, s in ipairs(touched) do if watched[s.name] then rows[#rows + 1] = row(s) end end
if not observer then
  local mail = P .. 'mail:' .. PROC
  for _, blob in ipairs(redis.call('LRANGE', mail, 0, -1)) do letters[#letters + 1] = unpack_(blob) end
  redis.call('DEL', mail)
end
for proc in pairs(pokes) do redis.call('PUBLISH', P .. 'poke:' .. proc, 'mail') end
local reply = pack({
  'ok', NOW, epoch, lost and 1 or 0, results, letters, rows, due_at and due_at - NOW or -1, reaped and 1 or 0,
  redis.call('HGETALL', P .. 'stopped'),
})
if not observer then redis.call('HSET', proc_key, 'seq', SEQ, 'reply', reply) end
return reply
