// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <variant>

#include "base/bytes.h"
#include "base/result.h"

namespace weft::io {

// Seals and opens gossip datagrams: AES-256-GCM under a subkey per sender and boot, with a replay
// window per sender. The format, and why no nonce is ever used twice, is in README.md.
// Not thread-safe: one per thread that owns the socket.
class Sealer {
 public:
  using SenderId = std::array<uint8_t, 16>;
  static constexpr size_t header_bytes = 39;  // at most; 22 or so while the counters are small
  static constexpr size_t tag_bytes = 16;
  static constexpr size_t overhead_bytes = header_bytes + tag_bytes;
  static constexpr size_t overhead_bytes_min = 20 + tag_bytes;
  static constexpr size_t datagram_bytes = 1372;  // at most, on the wire without IP and UDP
  static constexpr size_t plaintext_bytes = datagram_bytes - overhead_bytes;
  static constexpr uint64_t replay_window = 2048;

  struct Key {
    uint32_t epoch = 0;
    std::array<uint8_t, 32> bytes{};
  };
  // Epochs differ. `current` seals.
  struct KeyRing {
    std::optional<Key> previous;
    Key current;
    std::optional<Key> next;
  };

  struct Opened {
    SenderId sender{};
    uint64_t boot_epoch = 0;
    uint32_t key_epoch = 0;
    Bytes plaintext;
  };

  enum class Drop : uint8_t {
    truncated,    // shorter than header and tag, or no header
    oversize,     // longer than datagram_bytes
    version,      // another format
    unknown_key,  // a key epoch that is not in the ring
    removed,      // the sender is no member any more
    own,          // our own sender id: reflected, or a clone of this node
    old_boot,     // an earlier boot of the sender
    too_old,      // behind the replay window
    replay,       // seen before
    forged,       // the tag does not fit
    count_,
  };
  static const char* to_string(Drop reason);

  // For metrics; they only grow.
  struct Counters {
    uint64_t sealed = 0;
    uint64_t opened = 0;
    std::array<uint64_t, size_t(Drop::count_)> dropped{};
    uint64_t dropped_for(Drop reason) const { return dropped[size_t(reason)]; }
  };

  // `boot_epoch` must be greater than in every former start of this sender, or nonces repeat.
  Sealer(const SenderId& self, uint64_t boot_epoch, const KeyRing& keys);
  ~Sealer();
  Sealer(Sealer&&) noexcept;
  Sealer& operator=(Sealer&&) noexcept;

  // Replaces the ring. The counter runs on: a key that comes back is not met by old nonces.
  void set_keys(const KeyRing& keys);
  // Nodes whose datagrams are refused; replaces the former set.
  void set_removed(std::set<SenderId> removed);

  // Errors: invalid (longer than plaintext_bytes), exhausted (2^48 datagrams in one boot), failed
  // (OpenSSL).
  Result<Bytes> seal(ByteView plaintext);
  // The datagram's content, or why it is dropped. Any bytes are safe; a drop changes nothing but a
  // counter.
  std::variant<Opened, Drop> open(ByteView datagram);

  const Counters& counters() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace weft::io
