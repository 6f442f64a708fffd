// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/instant.h"
#include "base/result.h"

namespace weft::io {

// Certificates of the cluster: ECDSA P-256, X.509v3. Everything is PEM text; the caller keeps keys
// in files of mode 0600.

struct CertifiedKey {
  std::string certificate_pem;
  std::string key_pem;
};

// What a certificate says about a node.
struct NodeIdentity {
  std::string node_id;     // CN
  std::string role;        // OU: "worker" or "manager"
  std::string cluster_id;  // O
  WallTime not_before;
  WallTime not_after;
};

using Digest = std::array<uint8_t, 32>;

inline constexpr auto ca_lifetime = std::chrono::hours(24 * 365 * 20);
inline constexpr auto node_certificate_lifetime = std::chrono::hours(24 * 90);
// Certificates are valid since this long before they were made: clocks of nodes differ.
inline constexpr auto clock_skew_allowance = 1h;

// A self-signed CA: CN "weft-ca", O the cluster's id.
Result<CertifiedKey> create_cluster_ca(const std::string& cluster_id, WallTime now);

Result<std::string> create_key();

// A certificate signing request: it proves possession of the key. The names in it are not used.
Result<std::string> create_signing_request(const std::string& key_pem);

// A node's certificate for client and server use. Identity comes from the caller, never from the
// request; not_before and not_after of `identity` are ignored. ErrorCode::invalid if the request is
// malformed, not signed by its own key, or of a weak key.
Result<std::string> sign_node_certificate(const CertifiedKey& ca, const std::string& request_pem,
                                          const NodeIdentity& identity, WallTime now,
                                          Duration lifetime = node_certificate_lifetime);

// Reads a certificate without verifying it.
Result<NodeIdentity> parse_certificate(const std::string& certificate_pem);

// The certificate was signed by this CA, for the CA's cluster, and is valid at `now`.
// ErrorCode::denied with the reason if not.
Result<> verify_certificate(const std::string& certificate_pem, const std::string& ca_pem,
                            WallTime now);

// SHA-256 of the certificate's DER form.
Result<Digest> certificate_digest(const std::string& certificate_pem);

// What `weft cluster join` is given: WEFT-1-<base32 of the CA's digest>-<secret><check character>.
struct JoinToken {
  Digest ca_digest{};
  std::string secret;

  std::string to_string() const;
  // Accepts upper and lower case and surrounding white space. The check character finds every
  // single wrong character and every swap of neighbours.
  static Result<JoinToken> parse(std::string_view text);
};

// 26 base32 characters: 130 random bits.
std::string create_join_secret();

// In constant time, for secrets.
bool equal_secrets(std::string_view a, std::string_view b);

// From OpenSSL's generator; stops the program if that fails, since nothing may run on weak keys.
Bytes random_bytes(size_t count);

}  // namespace weft::io
