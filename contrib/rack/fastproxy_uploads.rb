# frozen_string_literal: true

# For a Rack application behind fastproxy: believe what is signed, and nothing else. To be copied.
# docs/protocol.md says what is verified and why; docs/protocol-vectors.json checks it.

require "digest"
require "fileutils"
require "json"
require "jwt"
require "rack"
require "stringio"

module Fastproxy
  AUTHORIZE = "fastproxy-authorize"
  UPLOAD = "fastproxy-upload"
  FORM = "fastproxy-form"
  FILE = "fastproxy-file"
  PERMISSION_TYPE = "application/vnd.fastproxy.authorize+json"
  MAX_BODY = 64 * 1024 # bytes; a report has a few hundred
  MAX_FORM = 4 << 20 # bytes; by default fastproxy passes on fields of 1 MiB

  # Answer with `status`, and do nothing of what the request asks for.
  class Refused < StandardError
    attr_reader :reason, :status

    def initialize(reason, status = 403)
      super(reason)
      @reason = reason
      @status = status
    end
  end

  # The secret in a file: base64 of 32 bytes, else the bytes themselves.
  def self.read_secret(content)
    content = content.b.chomp("\n")
    decoded = content.unpack1("m0")
    decoded.bytesize == 32 ? decoded : content
  rescue ArgumentError
    content
  end

  # Names and texts of a form that fastproxy wrote: only for a body that is verified. Its boundary is
  # in its first line, and nowhere in a text.
  def self.fields_of(body)
    body = body.b
    boundary = body.partition("\r\n").first
    return [] if body == "#{boundary}\r\n" # it is the last one at once

    body.delete_suffix("#{boundary}--\r\n").split("#{boundary}\r\n", -1).drop(1).map do |part|
      head, blank, text = part.partition("\r\n\r\n")
      name = head[/\AContent-Disposition: form-data; name="([^"\r\n]+)"(?:\r\n[^\r\n]+)?\z/n, 1]
      raise Refused, "body" if name.nil? || blank.empty? || !text.end_with?("\r\n")

      [name, text.delete_suffix("\r\n")].map { |each| each.dup.force_encoding("UTF-8").scrub }
    end
  end

  # Spent tokens of all processes of one machine: an empty file for each.
  class FolderReplays
    def initialize(folder)
      @folder = folder
      FileUtils.mkdir_p(folder, mode: 0o700)
    end

    # Whether this is the first time; remembered until `exp`, in seconds.
    def spend(jti, exp)
      forget
      place = File.join(@folder, Digest::SHA256.hexdigest(jti))
      File.open(place, File::CREAT | File::EXCL | File::WRONLY, 0o600).close
      File.utime(exp, exp, place)
      true
    rescue Errno::EEXIST
      false
    end

    private

    def forget
      Dir.each_child(@folder) do |name|
        place = File.join(@folder, name)
        stat = File.stat(place)
        # a minute late: the file gets its time just after it is made
        File.unlink(place) if [stat.mtime, stat.ctime].max.to_i + 60 < Time.now.to_i
      rescue Errno::ENOENT # another process was quicker
        next
      end
    end
  end

  # Judges tokens. `secrets`: one, or two while they are being changed, of 32 bytes at least.
  class Guard
    KINDS = { "iat" => Numeric, "exp" => Numeric, "jti" => String, "method" => String, "path" => String }.freeze
    FIELDS = { "id" => String, "store" => String, "key" => String, "path" => String, "size" => Integer,
               "etag" => String, "hashes" => Hash, "content_type" => String }.freeze
    SUFFIX = ".fastproxy-upload" # behind the name of a file's field
    LEEWAY = 5 # seconds by which clocks may differ

    def initialize(secrets, replays, issuer: "fastproxy", suffix: "/authorize", clock: -> { Time.now.to_f })
      raise ArgumentError, "secrets of 32 bytes are needed" if secrets.empty? || secrets.any? { |s| s.bytesize < 32 }

      @secrets = secrets
      @replays = replays
      @issuer = issuer
      @suffix = suffix
      @clock = clock
    end

    attr_reader :suffix

    # The claims of a token for this request; `path` is decoded once. Nothing is spent yet.
    def verify(purpose, method, path, token)
      raise Refused, "missing" if token.nil? || token.empty?

      claims = signed(token)
      KINDS.each { |name, kind| raise Refused, "malformed" unless claims[name].is_a?(kind) }
      raise Refused, "issuer" unless claims["iss"] == @issuer
      raise Refused, "purpose" unless claims["aud"] == purpose
      raise Refused, "expired" if claims["exp"] + LEEWAY <= @clock.call
      raise Refused, "early" if claims["iat"] - LEEWAY > @clock.call

      wanted = purpose == AUTHORIZE ? claims["path"].sub(%r{/+\z}, "") + @suffix : claims["path"]
      raise Refused, "request" unless [claims["method"], wanted] == [method, path]

      claims
    end

    # The claims of a question: `length`, `content_type`, `path`.
    def ask(claims, max_size = nil)
      spend(claims)
      length = claims["length"]
      raise Refused, "malformed" unless length.nil? || length.is_a?(Integer)
      raise Refused.new("too-large", 413) if max_size && length && length > max_size

      claims
    end

    # What was stored: id, store, key, path, size, hashes ...
    def file(claims, body, max_size = nil)
      spend_for(claims, body)
      stored(claims, max_size)
    end

    # A form whose files are stored: "fields" and "files", pairs of a field's name and its text or
    # file. What is in "fields" is anything the client likes, and so is the "name" of a file.
    def form(claims, body, max_size = nil)
      spend_for(claims, body)
      files, fields = Fastproxy.fields_of(body).partition { |name, _| name.end_with?(SUFFIX) }
      files.map! do |name, token|
        told = verify(FILE, claims["method"], claims["path"], token)
        raise Refused, "malformed" unless told["name"].is_a?(String)

        [name.delete_suffix(SUFFIX), stored(told, max_size).merge("name" => told["name"])]
      end
      { "fields" => fields, "files" => files }
    end

    private

    def spend_for(claims, body)
      raise Refused, "body" unless claims["body_sha256"] == Digest::SHA256.hexdigest(body)

      spend(claims)
    end

    def stored(claims, max_size)
      file = claims["upload"]
      raise Refused, "malformed" unless file.is_a?(Hash) && FIELDS.all? { |name, kind| file[name].is_a?(kind) }
      raise Refused, "malformed" if file["size"].negative?
      raise Refused.new("too-large", 413) if max_size && file["size"] > max_size

      file
    end

    def signed(token)
      @secrets.each do |secret|
        options = { algorithm: "HS256", verify_expiration: false, verify_not_before: false }
        return JWT.decode(token, secret, true, options).first
      rescue JWT::VerificationError, JWT::IncorrectAlgorithm
        next
      rescue JWT::DecodeError
        raise Refused, "malformed"
      end
      raise Refused, "signature"
    end

    def spend(claims)
      raise Refused, "replayed" unless @replays.spend(claims["jti"], claims["exp"] + LEEWAY)
    rescue SystemCallError # unknown must not mean unspent
      raise Refused.new("uncertain", 503)
    end
  end

  # A middleware: answers questions with what `allow` returns (a Hash; nil: no), and gives the
  # application env["fastproxy.upload"] on paths that `route`, a Regexp, matches as a whole, and
  # env["fastproxy.form"] on those of `forms`.
  class Uploads
    METHODS = %w[PUT POST].freeze
    GIVEN = { UPLOAD => "fastproxy.upload", FORM => "fastproxy.form" }.freeze
    LIMITS = { UPLOAD => MAX_BODY, FORM => MAX_FORM }.freeze

    def initialize(app, guard:, allow:, route: nil, forms: nil, max_size: nil)
      @app = app
      @guard = guard
      @routes = { UPLOAD => route, FORM => forms }.compact.transform_values { |one| /\A(?:#{one.source})\z/ }
      @allow = allow
      @max_size = max_size
    end

    def call(env)
      tokens = [env.delete("HTTP_FASTPROXY_AUTHORIZE"), env.delete("HTTP_FASTPROXY_UPLOAD")]
      # Unlike WSGI, Rack leaves the path encoded.
      path = Rack::Utils.unescape_path(env["SCRIPT_NAME"] + env["PATH_INFO"]).dup.force_encoding("UTF-8")
      return @app.call(env) unless path.valid_encoding? && METHODS.include?(env["REQUEST_METHOD"])

      asked = path.delete_suffix(@guard.suffix)
      return answer(env, path, tokens[0]) if asked != path && (purpose_of(asked) || purpose_of("#{asked}/"))

      purpose = purpose_of(path)
      take(env, path, purpose, tokens[1]) if purpose
      @app.call(env)
    rescue Refused => e
      [e.status, { "Content-Type" => "text/plain" }, ["#{e.status} #{e.reason}\n"]]
    end

    private

    def purpose_of(path)
      @routes.find { |_, route| route.match?(path) }&.first
    end

    def answer(env, path, token)
      claims = @guard.verify(AUTHORIZE, env["REQUEST_METHOD"], path, token)
      permission = @allow.call(@guard.ask(claims, @max_size), env)
      raise Refused, "denied" if permission.nil?

      [200, { "Content-Type" => PERMISSION_TYPE }, [JSON.generate(permission)]]
    end

    def take(env, path, purpose, token)
      claims = @guard.verify(purpose, env["REQUEST_METHOD"], path, token)
      length = env["CONTENT_LENGTH"].to_s
      raise Refused, "body" unless length.match?(/\A\d{1,7}\z/) && length.to_i <= LIMITS[purpose]

      body = env["rack.input"].read(length.to_i) || ""
      judge = purpose == FORM ? :form : :file
      env[GIVEN[purpose]] = @guard.public_send(judge, claims, body, @max_size)
      env["rack.input"] = StringIO.new(body)
    end
  end
end
