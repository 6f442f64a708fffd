// SPDX-License-Identifier: Apache-2.0
// Shared by rpc.cpp and rpc_connection.cpp; others include rpc.h.
#pragma once

#include <cstdint>
#include <map>

#include "io/rpc.h"

namespace weft::api {
class Frame;
}

namespace weft::io {

// Frames and calls over one TlsStream.
class RpcLink final : public RpcConnection, public std::enable_shared_from_this<RpcLink> {
 public:
  RpcLink(Loop& loop, RpcLimits limits, RpcHandler handler)
      : loop_(loop), limits_(limits), handler_(std::move(handler)) {}

  // Takes the stream, which must be open for a server and may be connecting for a client.
  void start(std::unique_ptr<TlsStream> stream, bool accepted);
  TlsStream::Callbacks callbacks();
  // The server's first frame.
  void welcome(const Error* refusal);
  // The first frame was received.
  void on_welcome(std::function<void(Result<>)> fn) { on_welcome_ = std::move(fn); }

  void call(std::string_view method, std::string_view payload, Duration timeout,
            std::function<void(Result<std::string>)> done) override;
  void close() override;
  bool is_open() const override { return stream_ && stream_->is_open(); }
  const PeerIdentity& identity() const override { return identity_; }
  void on_close(std::function<void(const Error& reason)> fn) override { on_close_ = std::move(fn); }
  // For the server's bookkeeping; called on every end.
  void on_gone(std::function<void()> fn) { on_gone_ = std::move(fn); }
  void fail(const Error& reason);

 private:
  struct Pending {
    std::function<void(Result<std::string>)> done;
    Timer deadline;
  };

  void received(ByteView bytes);
  bool frame(std::string_view bytes);
  void serve(uint64_t id, std::string method, std::string payload);
  void answer(uint64_t id, Result<std::string> outcome);
  void write(const api::Frame& frame);
  size_t max_frame_bytes() const;

  Loop& loop_;
  RpcLimits limits_;
  RpcHandler handler_;
  std::unique_ptr<TlsStream> stream_;
  PeerIdentity identity_;
  bool welcomed_ = false;
  std::string in_;
  uint64_t next_id_ = 1;
  std::map<uint64_t, Pending> pending_;
  std::function<void(Result<>)> on_welcome_;
  std::function<void(const Error&)> on_close_;
  std::function<void()> on_gone_;
};

}  // namespace weft::io
