// SPDX-License-Identifier: Apache-2.0
#include "io/sealed/sealer.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#include <algorithm>
#include <map>
#include <vector>

#include "base/free_with.h"

namespace weft::io {

namespace {

constexpr uint8_t version = 2;  // 1 had numbers of fixed size
constexpr uint64_t counter_limit = uint64_t(1) << 48;
constexpr size_t senders_kept = 16384;
constexpr size_t nonce_bytes = 12;
constexpr std::string_view purpose = "weft gossip 1";

using Cipher = std::unique_ptr<EVP_CIPHER_CTX, FreeWith<EVP_CIPHER_CTX_free>>;
using Kdf = std::unique_ptr<EVP_KDF, FreeWith<EVP_KDF_free>>;
using KdfContext = std::unique_ptr<EVP_KDF_CTX, FreeWith<EVP_KDF_CTX_free>>;
using Subkey = std::array<uint8_t, 32>;

struct Header {
  uint8_t version = 0;
  uint32_t key_epoch = 0;
  Sealer::SenderId sender{};
  uint64_t boot_epoch = 0;
  uint64_t counter = 0;
  size_t bytes = 0;  // of the encoded header
};

void write(Bytes& out, const Header& h) {
  ByteWriter w(out);
  w.u8(h.version);
  w.varint(h.key_epoch);
  w.raw(h.sender);
  w.varint(h.boot_epoch);
  w.varint(h.counter);
}

// nullopt: it ends too early. A number may be written longer than it needs to be, but then the
// datagram does not authenticate.
std::optional<Header> read(ByteView datagram) {
  ByteReader r(datagram);
  Header h;
  h.version = r.u8();
  const uint64_t key_epoch = r.varint();
  h.key_epoch = uint32_t(key_epoch);
  const ByteView sender = r.raw(h.sender.size());
  std::copy(sender.begin(), sender.end(), h.sender.begin());
  h.boot_epoch = r.varint();
  h.counter = r.varint();
  if (!r.ok() || key_epoch > UINT32_MAX || r.remaining() < Sealer::tag_bytes) return std::nullopt;
  h.bytes = datagram.size() - r.remaining();
  return h;
}

std::array<uint8_t, nonce_bytes> nonce_of(uint64_t counter) {
  std::array<uint8_t, nonce_bytes> nonce{};
  for (size_t i = 0; i < 8; ++i) nonce[nonce_bytes - 1 - i] = uint8_t(counter >> (8 * i));
  return nonce;
}

// RFC 5869, extract without salt and expand.
bool derive(const Sealer::Key& key, const Sealer::SenderId& sender, uint64_t boot_epoch,
            Subkey& out) {
  static const Kdf kdf(EVP_KDF_fetch(nullptr, "HKDF", nullptr));
  const KdfContext context(kdf ? EVP_KDF_CTX_new(kdf.get()) : nullptr);
  if (!context) return false;
  Bytes info(purpose.begin(), purpose.end());
  ByteWriter w(info);
  w.raw(sender);
  w.u64(boot_epoch);
  char digest[] = "SHA256";
  const OSSL_PARAM params[] = {
      OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, const_cast<uint8_t*>(key.bytes.data()),
                                        key.bytes.size()),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info.data(), info.size()),
      OSSL_PARAM_construct_end(),
  };
  return EVP_KDF_derive(context.get(), out.data(), out.size(), params) == 1;
}

// A context with the subkey scheduled; each datagram sets only the nonce.
Cipher cipher_for(const Sealer::Key& key, const Sealer::SenderId& sender, uint64_t boot_epoch,
                  bool encrypt) {
  Subkey subkey;
  Cipher cipher(EVP_CIPHER_CTX_new());
  const bool ready = cipher && derive(key, sender, boot_epoch, subkey) &&
                     EVP_CipherInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr, subkey.data(),
                                       nullptr, encrypt ? 1 : 0) == 1;
  OPENSSL_cleanse(subkey.data(), subkey.size());
  return ready ? std::move(cipher) : nullptr;
}

// Counters seen, as in RFC 4303 appendix A2: a ring of words that moves with the highest.
class ReplayWindow {
 public:
  enum class Verdict { fresh, replay, too_old };
  Verdict look(uint64_t counter) const {
    if (counter > highest_) return Verdict::fresh;
    if (highest_ - counter >= Sealer::replay_window) return Verdict::too_old;
    return bit(counter) ? Verdict::replay : Verdict::fresh;
  }
  void mark(uint64_t counter) {
    if (counter > highest_) {
      const uint64_t steps = std::min<uint64_t>(counter / 64 - highest_ / 64, words_.size());
      for (uint64_t i = 1; i <= steps; ++i) words_[(highest_ / 64 + i) % words_.size()] = 0;
      highest_ = counter;
    }
    words_[counter / 64 % words_.size()] |= uint64_t(1) << (counter % 64);
  }

 private:
  bool bit(uint64_t counter) const {
    return words_[counter / 64 % words_.size()] >> (counter % 64) & 1;
  }
  // One word more than the window: the word of the highest is only partly used.
  std::array<uint64_t, Sealer::replay_window / 64 + 1> words_{};
  uint64_t highest_ = 0;
};

// An authenticated sender's present boot.
struct Sender {
  uint64_t boot_epoch = 0;
  uint64_t last_used = 0;
  ReplayWindow window;
  struct Keyed {
    uint32_t key_epoch;
    Cipher cipher;
  };
  std::vector<Keyed> ciphers;  // at most one for each key of the ring

  Cipher* find(uint32_t key_epoch) {
    for (Keyed& keyed : ciphers) {
      if (keyed.key_epoch == key_epoch) return &keyed.cipher;
    }
    return nullptr;
  }
};

bool decrypt(EVP_CIPHER_CTX* cipher, const Header& header, ByteView datagram, Bytes& plaintext) {
  const auto nonce = nonce_of(header.counter);
  const ByteView associated = datagram.first(header.bytes);
  const ByteView body =
      datagram.subspan(header.bytes, datagram.size() - header.bytes - Sealer::tag_bytes);
  const ByteView tag = datagram.last(Sealer::tag_bytes);
  plaintext.resize(body.size());
  uint8_t none = 0;
  int length = 0;
  return EVP_DecryptInit_ex(cipher, nullptr, nullptr, nullptr, nonce.data()) == 1 &&
         EVP_DecryptUpdate(cipher, nullptr, &length, associated.data(), int(associated.size())) ==
             1 &&
         (body.empty() || EVP_DecryptUpdate(cipher, plaintext.data(), &length, body.data(),
                                            int(body.size())) == 1) &&
         EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_GCM_SET_TAG, int(tag.size()),
                             const_cast<uint8_t*>(tag.data())) == 1 &&
         EVP_DecryptFinal_ex(cipher, body.empty() ? &none : plaintext.data() + length, &length) ==
             1;
}

}  // namespace

struct Sealer::State {
  SenderId self{};
  uint64_t boot_epoch = 0;
  uint64_t counter = 0;
  uint64_t clock = 0;  // counts opened datagrams, for last_used
  KeyRing keys;
  Cipher seal_cipher;
  std::set<SenderId> removed;
  std::map<SenderId, Sender> senders;
  Counters counters;

  const Key* key(uint32_t epoch) const {
    if (keys.current.epoch == epoch) return &keys.current;
    if (keys.previous && keys.previous->epoch == epoch) return &*keys.previous;
    if (keys.next && keys.next->epoch == epoch) return &*keys.next;
    return nullptr;
  }
  Sender& remember(const Header& header);
  std::variant<Opened, Drop> open(ByteView datagram);
};

Sealer::Sealer(const SenderId& self, uint64_t boot_epoch, const KeyRing& keys)
    : state_(std::make_unique<State>()) {
  state_->self = self;
  state_->boot_epoch = boot_epoch;
  set_keys(keys);
}
Sealer::~Sealer() {
  if (state_) OPENSSL_cleanse(&state_->keys.current, sizeof state_->keys.current);
}
Sealer::Sealer(Sealer&&) noexcept = default;
Sealer& Sealer::operator=(Sealer&&) noexcept = default;

void Sealer::set_keys(const KeyRing& keys) {
  State& s = *state_;
  s.keys = keys;
  s.seal_cipher = cipher_for(keys.current, s.self, s.boot_epoch, true);
  // An epoch may come back with other bytes (a cluster made anew): derive again.
  for (auto& [id, sender] : s.senders) sender.ciphers.clear();
}

void Sealer::set_removed(std::set<SenderId> removed) {
  state_->removed = std::move(removed);
  for (const SenderId& id : state_->removed) state_->senders.erase(id);
}

Result<Bytes> Sealer::seal(ByteView plaintext) {
  State& s = *state_;
  if (plaintext.size() > plaintext_bytes) {
    return Error(ErrorCode::invalid, "a gossip datagram is too long to seal");
  }
  if (s.counter >= counter_limit) {
    return Error(ErrorCode::exhausted, "the gossip counter of this boot is used up");
  }
  if (!s.seal_cipher) return Error("OpenSSL cannot prepare AES-256-GCM");
  const Header header{version, s.keys.current.epoch, s.self, s.boot_epoch, ++s.counter};
  Bytes out;
  out.reserve(overhead_bytes + plaintext.size());
  write(out, header);
  const size_t header_size = out.size();
  out.resize(header_size + plaintext.size() + tag_bytes);
  const auto nonce = nonce_of(header.counter);
  EVP_CIPHER_CTX* cipher = s.seal_cipher.get();
  uint8_t* body = out.data() + header_size;
  int length = 0, last = 0;
  const bool sealed =
      EVP_EncryptInit_ex(cipher, nullptr, nullptr, nullptr, nonce.data()) == 1 &&
      EVP_EncryptUpdate(cipher, nullptr, &length, out.data(), int(header_size)) == 1 &&
      (plaintext.empty() ||
       EVP_EncryptUpdate(cipher, body, &length, plaintext.data(), int(plaintext.size())) == 1) &&
      EVP_EncryptFinal_ex(cipher, body + plaintext.size(), &last) == 1 &&
      EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_GCM_GET_TAG, int(tag_bytes), body + plaintext.size()) ==
          1;
  if (!sealed) return Error("OpenSSL cannot encrypt a gossip datagram");
  ++s.counters.sealed;
  return out;
}

Sender& Sealer::State::remember(const Header& header) {
  auto it = senders.find(header.sender);
  if (it == senders.end() && senders.size() >= senders_kept) {
    senders.erase(std::min_element(
        senders.begin(), senders.end(),
        [](const auto& a, const auto& b) { return a.second.last_used < b.second.last_used; }));
  }
  if (it == senders.end()) it = senders.try_emplace(header.sender).first;
  Sender& sender = it->second;
  if (sender.boot_epoch != header.boot_epoch) {
    sender = Sender{};
    sender.boot_epoch = header.boot_epoch;
  }
  return sender;
}

std::variant<Sealer::Opened, Sealer::Drop> Sealer::State::open(ByteView datagram) {
  if (datagram.size() > datagram_bytes) return Drop::oversize;
  if (datagram.size() < overhead_bytes_min) return Drop::truncated;
  if (datagram[0] != version) return Drop::version;
  const auto parsed = read(datagram);
  if (!parsed) return Drop::truncated;
  const Header& header = *parsed;
  if (header.sender == self) return Drop::own;
  if (removed.contains(header.sender)) return Drop::removed;
  const Key* key_used = key(header.key_epoch);
  if (!key_used) return Drop::unknown_key;
  const auto known = senders.find(header.sender);
  Cipher* cached = nullptr;
  if (known != senders.end()) {
    if (header.boot_epoch < known->second.boot_epoch) return Drop::old_boot;
    if (header.boot_epoch == known->second.boot_epoch) {
      switch (known->second.window.look(header.counter)) {
        case ReplayWindow::Verdict::replay:
          return Drop::replay;
        case ReplayWindow::Verdict::too_old:
          return Drop::too_old;
        case ReplayWindow::Verdict::fresh:
          break;
      }
      cached = known->second.find(header.key_epoch);
    }
  }
  Cipher derived;
  if (!cached) derived = cipher_for(*key_used, header.sender, header.boot_epoch, false);
  EVP_CIPHER_CTX* cipher = cached ? cached->get() : derived.get();
  Opened opened{header.sender, header.boot_epoch, header.key_epoch, {}};
  if (!cipher || !decrypt(cipher, header, datagram, opened.plaintext)) return Drop::forged;
  // Only now is any of the header true.
  Sender& sender = remember(header);
  sender.window.mark(header.counter);
  sender.last_used = ++clock;
  if (derived) sender.ciphers.push_back({header.key_epoch, std::move(derived)});
  return opened;
}

std::variant<Sealer::Opened, Sealer::Drop> Sealer::open(ByteView datagram) {
  auto outcome = state_->open(datagram);
  if (const Drop* reason = std::get_if<Drop>(&outcome)) {
    ++state_->counters.dropped[size_t(*reason)];
  } else {
    ++state_->counters.opened;
  }
  return outcome;
}

const Sealer::Counters& Sealer::counters() const { return state_->counters; }

const char* Sealer::to_string(Drop reason) {
  switch (reason) {
    case Drop::truncated:
      return "truncated";
    case Drop::oversize:
      return "oversize";
    case Drop::version:
      return "version";
    case Drop::unknown_key:
      return "unknown_key";
    case Drop::removed:
      return "removed";
    case Drop::own:
      return "own";
    case Drop::old_boot:
      return "old_boot";
    case Drop::too_old:
      return "too_old";
    case Drop::replay:
      return "replay";
    case Drop::forged:
      return "forged";
    case Drop::count_:
      break;
  }
  return "unknown";
}

}  // namespace weft::io
