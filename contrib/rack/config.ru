# frozen_string_literal: true

# An application that takes uploads through fastproxy: `unicorn contrib/rack/config.ru` in a
# directory with `secret`, `uploads` (fastproxy's local store) and `files`.

require_relative "fastproxy_uploads"
require "securerandom"

MAX_SIZE = 1 << 30 # bytes
STORE = File.realpath("uploads")

guard = Fastproxy::Guard.new([Fastproxy.read_secret(File.binread("secret"))], Fastproxy::FolderReplays.new("spent"))

allow = lambda do |_ask, env|
  raise Fastproxy::Refused.new("log in first", 401) unless Rack::Request.new(env).cookies.key?("session")

  { key: "incoming/#{SecureRandom.hex(8)}", max_size: MAX_SIZE, hashes: ["sha256"] }
end

use Fastproxy::Uploads, guard: guard, route: %r{/uploads/[^/]+}, forms: %r{/posts}, allow: allow, max_size: MAX_SIZE

# Even a fastproxy whose configuration is wrong cannot make us touch another file.
keep = lambda do |file|
  stored = File.realpath(file["path"])
  raise Fastproxy::Refused, "place" unless stored.start_with?("#{STORE}/")

  place = File.join("files", SecureRandom.hex(8))
  File.rename(stored, place)
  { size: file["size"], sha256: file["hashes"]["sha256"], place: place }
end

run(lambda do |env|
  file, form = env.values_at("fastproxy.upload", "fastproxy.form")
  return [404, { "Content-Type" => "text/plain" }, ["not found\n"]] unless file || form

  told = { name: File.basename(env["PATH_INFO"]) }.merge(keep.call(file)) if file
  told = { title: form["fields"].assoc("title")&.last, files: form["files"].map { |_, one| keep.call(one) } } if form
  [201, { "Content-Type" => "application/json" }, [JSON.generate(told)]]
end)
