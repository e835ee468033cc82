# frozen_string_literal: true

# ruby check_vectors.rb protocol-vectors.json: whether the guard judges each case, and each form, as
# the file says.
# Ends with status 1 when one is believed that must not be, or the other way round.

require_relative "fastproxy_uploads"

# Spent tokens of one case.
class Spent
  def initialize(known)
    @known = known
  end

  def spend(jti, _exp)
    !@known.include?(jti) && @known.push(jti)
  end
end

def judge(kase, secrets, now)
  guard = Fastproxy::Guard.new(secrets, Spent.new(kase["spent"]), clock: -> { now })
  claims = guard.verify(kase["purpose"], kase["method"], kase["path"], kase["token"])
  if kase["purpose"] == Fastproxy::AUTHORIZE
    guard.ask(claims, kase["max_size"])
  else
    guard.file(claims, kase["body"], kase["max_size"])
  end
  nil
rescue Fastproxy::Refused => e
  e.reason
end

# The refusal, or the files that are believed.
def judge_form(kase, secrets, now)
  guard = Fastproxy::Guard.new(secrets, Spent.new(kase["spent"]), clock: -> { now })
  claims = guard.verify(Fastproxy::FORM, "POST", kase["path"], kase["token"])
  guard.form(claims, kase["body"])["files"].map do |field, file|
    { "field" => field, "name" => file["name"], "size" => file["size"] }
  end
rescue Fastproxy::Refused => e
  e.reason
end

vectors = JSON.parse(File.read(ARGV.fetch(0)))
secrets = vectors["secret_files"].map { |content| Fastproxy.read_secret(content) }
wrong = 0
vectors["cases"].each do |kase|
  found = judge(kase, secrets, vectors["now"])
  wrong += 1 if found.nil? != kase["refusal"].nil?
  puts "#{kase["name"]}: #{found || "believed"}, not #{kase["refusal"] || "believed"}" if found != kase["refusal"]
end
vectors["forms"].each do |kase|
  wanted = kase["refusal"] || kase["files"]
  found = judge_form(kase, secrets, vectors["now"])
  wrong += 1 if found != wanted
  puts "#{kase["name"]}: #{found}, not #{wanted}" if found != wanted
end
puts "#{vectors["cases"].size} cases and #{vectors["forms"].size} forms, #{wrong} misjudged"
exit(wrong.zero?)
