// SPDX-License-Identifier: Apache-2.0
#include "io/rpc_connection.h"

#include <utility>

#include "weft/api/weft.pb.h"

namespace weft::io {
namespace {

constexpr size_t length_bytes = 4;

uint32_t length_at(std::string_view bytes) {
  uint32_t length = 0;
  for (size_t i = 0; i < length_bytes; ++i) length = length << 8 | uint8_t(bytes[i]);
  return length;
}

std::string milliseconds_text(Duration d) {
  return std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(d).count()) + " ms";
}

constexpr std::pair<ErrorCode, std::string_view> code_names[] = {
    {ErrorCode::failed, "failed"},       {ErrorCode::invalid, "invalid"},
    {ErrorCode::not_found, "not_found"}, {ErrorCode::conflict, "conflict"},
    {ErrorCode::exhausted, "exhausted"}, {ErrorCode::unavailable, "unavailable"},
    {ErrorCode::denied, "denied"},
};

Error error_of(const api::ErrorReply& reply) {
  return Error(error_code_from(reply.code()), reply.message());
}

void set_error(api::Frame& frame, const Error& error) {
  frame.mutable_error()->set_code(std::string(error_code_name(error.code())));
  frame.mutable_error()->set_message(error.message());
}

}  // namespace

std::string_view error_code_name(ErrorCode code) {
  for (const auto& [known, name] : code_names)
    if (known == code) return name;
  return "failed";
}

ErrorCode error_code_from(std::string_view name) {
  for (const auto& [code, known] : code_names)
    if (known == name) return code;
  return ErrorCode::failed;
}

TlsStream::Callbacks RpcLink::callbacks() {
  // The stream belongs to this link, so `this` outlives the callbacks; each holds on to the link
  // while it runs, because what it calls may drop the last handle.
  return {
      .on_open =
          [this] {
            const auto keep = shared_from_this();
            identity_ = stream_->peer();
          },
      .on_data =
          [this](ByteView bytes) {
            const auto keep = shared_from_this();
            received(bytes);
          },
      .on_close =
          [this](const Error& reason) {
            const auto keep = shared_from_this();
            fail(reason);
          },
  };
}

void RpcLink::start(std::unique_ptr<TlsStream> stream, bool accepted) {
  stream_ = std::move(stream);
  identity_ = stream_->peer();
  welcomed_ = accepted;
}

void RpcLink::welcome(const Error* refusal) {
  api::Frame first;
  if (refusal != nullptr) set_error(first, *refusal);
  write(first);
}

size_t RpcLink::max_frame_bytes() const {
  return identity_.authenticated ? limits_.max_frame_bytes
                                 : limits_.max_frame_bytes_unauthenticated;
}

void RpcLink::received(ByteView bytes) {
  in_.append(text_of(bytes));
  size_t at = 0;
  while (is_open() && in_.size() - at >= length_bytes) {
    const uint32_t length = length_at(std::string_view(in_).substr(at));
    if (length > max_frame_bytes()) {
      return fail(Error(ErrorCode::invalid, identity_.address.to_string() + " sent a frame of " +
                                                std::to_string(length) + " bytes, more than the " +
                                                std::to_string(max_frame_bytes()) + " allowed"));
    }
    if (in_.size() - at - length_bytes < length) break;
    const std::string_view body = std::string_view(in_).substr(at + length_bytes, length);
    at += length_bytes + length;
    if (!frame(body))
      return fail(
          Error(ErrorCode::invalid, identity_.address.to_string() + " sent a malformed frame"));
  }
  in_.erase(0, at);
  if (in_.empty() && in_.capacity() > (1 << 20)) in_.shrink_to_fit();
}

bool RpcLink::frame(std::string_view bytes) {
  api::Frame frame;
  if (!frame.ParseFromArray(bytes.data(), int(bytes.size()))) return false;
  if (!welcomed_) {
    if (frame.id() != 0 || !frame.method().empty()) return false;
    welcomed_ = true;
    const auto fn = std::exchange(on_welcome_, nullptr);
    if (frame.has_error()) {
      const Error refusal = error_of(frame.error());
      close();
      if (fn) fn(refusal);
    } else if (fn) {
      fn(Ok);
    }
    return true;
  }
  if (!frame.method().empty()) {
    serve(frame.id(), std::move(*frame.mutable_method()), std::move(*frame.mutable_payload()));
    return true;
  }
  // A reply to a call that has timed out finds nothing.
  auto node = pending_.extract(frame.id());
  if (node.empty()) return true;
  if (frame.has_error())
    node.mapped().done(error_of(frame.error()));
  else
    node.mapped().done(std::move(*frame.mutable_payload()));
  return true;
}

void RpcLink::serve(uint64_t id, std::string method, std::string payload) {
  if (!handler_)
    return answer(id, Error(ErrorCode::not_found, "no method " + method + " is served here"));
  handler_(shared_from_this(), std::move(method), std::move(payload),
           [weak = weak_from_this(), id](Result<std::string> outcome) {
             if (const auto self = weak.lock()) self->answer(id, std::move(outcome));
           });
}

void RpcLink::answer(uint64_t id, Result<std::string> outcome) {
  if (!is_open()) return;
  // Without limit a peer that asks and never reads would fill our memory.
  if (stream_->queued_bytes() > limits_.max_queued_bytes)
    return fail(Error(ErrorCode::unavailable,
                      identity_.address.to_string() + " does not read what it asked for"));
  api::Frame reply;
  reply.set_id(id);
  if (!outcome) {
    set_error(reply, outcome.error());
  } else if (outcome->size() > limits_.max_frame_bytes - 64) {
    set_error(reply, Error(ErrorCode::exhausted, "the reply of " + std::to_string(outcome->size()) +
                                                     " bytes is too large for one frame"));
  } else {
    *reply.mutable_payload() = std::move(*outcome);
  }
  write(reply);
}

void RpcLink::write(const api::Frame& frame) {
  std::string out(length_bytes, '\0');
  frame.AppendToString(&out);
  const size_t length = out.size() - length_bytes;
  for (size_t i = 0; i < length_bytes; ++i) out[i] = char(length >> (24 - 8 * i));
  stream_->write(view_of(out));
}

void RpcLink::call(std::string_view method, std::string_view payload, Duration timeout,
                   std::function<void(Result<std::string>)> done) {
  const auto refuse = [&](Error error) {
    loop_.post([done = std::move(done), error = std::move(error)] { done(error); });
  };
  const std::string peer = identity_.address.to_string();
  if (!is_open())
    return refuse(Error(ErrorCode::unavailable, "the connection to " + peer + " is closed"));
  if (payload.size() + method.size() + 64 > limits_.max_frame_bytes)
    return refuse(Error(ErrorCode::invalid,
                        "a request of " + std::to_string(payload.size()) + " bytes is too large"));
  if (stream_->queued_bytes() + payload.size() > limits_.max_queued_bytes)
    return refuse(Error(ErrorCode::unavailable, peer + " does not keep up with our calls"));

  const uint64_t id = next_id_++;
  Pending& entry = pending_[id];
  entry.done = std::move(done);
  entry.deadline = loop_.after(timeout, [this, id, timeout, name = std::string(method)] {
    const auto keep = shared_from_this();
    auto node = pending_.extract(id);
    if (node.empty()) return;
    node.mapped().done(Error(ErrorCode::unavailable, identity_.address.to_string() +
                                                         " did not answer " + name + " within " +
                                                         milliseconds_text(timeout)));
  });
  api::Frame frame;
  frame.set_id(id);
  frame.set_method(std::string(method));
  frame.set_payload(std::string(payload));
  write(frame);
}

void RpcLink::close() {
  if (!stream_) return;
  stream_->close();
  const auto pending = std::exchange(pending_, {});
  for (const auto& [id, entry] : pending) {
    loop_.post([done = entry.done, peer = identity_.address.to_string()] {
      done(Error(ErrorCode::unavailable, "the connection to " + peer + " was closed"));
    });
  }
  on_close_ = nullptr;
  if (const auto gone = std::exchange(on_gone_, nullptr)) gone();
}

void RpcLink::fail(const Error& reason) {
  const auto keep = shared_from_this();
  stream_->close();
  const auto welcome = std::exchange(on_welcome_, nullptr);
  const auto closed = std::exchange(on_close_, nullptr);
  const auto gone = std::exchange(on_gone_, nullptr);
  auto pending = std::exchange(pending_, {});
  for (auto& [id, entry] : pending) entry.done(Error(ErrorCode::unavailable, reason.message()));
  if (welcome) welcome(reason);
  if (closed) closed(reason);
  if (gone) gone();
}

}  // namespace weft::io
