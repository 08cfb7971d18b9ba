-- Equal requests for wrk. Prints the result as a line of JSON.
-- From the environment: METHOD, BODY and COOKIE of each request; PACE, the milliseconds before each request.
-- ADDRESSES=many gives each request another address, so that no limit per address applies.
-- MAILS, separated by blanks, replace MAIL in the body in turn.
-- A random first address differs from that of the last run.
math.randomseed(os.time())
local number = math.random(0, 255 * 65536)
local fixed, body
local mails = {}
for mail in string.gmatch(os.getenv("MAILS") or "", "%S+") do table.insert(mails, mail) end

local function address()
  number = number + 1
  return string.format("203.%d.%d.%d", math.floor(number / 65536) % 256, math.floor(number / 256) % 256, number % 256)
end

function init()
  wrk.method = os.getenv("METHOD") or "GET"
  body = os.getenv("BODY")
  wrk.body = body
  wrk.headers["Host"] = "auth.example"
  wrk.headers["X-Forwarded-For"] = address()
  wrk.headers["Cookie"] = os.getenv("COOKIE")
  if wrk.body then wrk.headers["Content-Type"] = "application/json" end
  fixed = wrk.format()
end

function request()
  if not os.getenv("ADDRESSES") then return fixed end
  wrk.headers["X-Forwarded-For"] = address()
  if #mails > 0 then wrk.body = body:gsub("MAIL", mails[number % #mails + 1]) end
  return wrk.format()
end

if os.getenv("PACE") then
  function delay() return tonumber(os.getenv("PACE")) end
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"count": %d, "seconds": %f, "refused": %d, "failed": %d, "p50": %f, "p99": %f}\n',
    summary.requests, summary.duration / 1e6, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1e6, latency:percentile(99) / 1e6))
end
