// SPDX-License-Identifier: Apache-2.0
#include "drivers/link/nat.h"

#include <linux/netlink.h>
#include <nftables/libnftables.h>
#include <sys/socket.h>

#include <fstream>
#include <memory>
#include <optional>
#include <sstream>

#include "base/free_with.h"
#include "drivers/netns/netns.h"

namespace weft::link {
namespace {

using Nft = std::unique_ptr<nft_ctx, FreeWith<nft_ctx_free>>;

// Runs commands in the calling thread's namespace; the output of `list` commands.
Result<std::string> run_nft(const std::string& commands, bool handles = false) {
  // libnftables ends the process when it cannot open its socket, so try first.
  if (Fd probe(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER)); !probe)
    return Error(
               "the kernel has no nftables (module nf_tables); install a kernel that has it, or "
               "create networks with --internal")
        .with_errno(errno);
  const Nft nft(nft_ctx_new(NFT_CTX_DEFAULT));
  if (!nft) return Error("nftables: out of memory");
  nft_ctx_buffer_output(nft.get());
  nft_ctx_buffer_error(nft.get());
  nft_ctx_output_set_flags(nft.get(), NFT_CTX_OUTPUT_NUMERIC_PROTO |
                                          (handles ? NFT_CTX_OUTPUT_HANDLE : 0) |
                                          NFT_CTX_OUTPUT_STATELESS);
  if (nft_run_cmd_from_buffer(nft.get(), commands.c_str()) != 0) {
    std::string message = nft_ctx_get_error_buffer(nft.get());
    message = message.substr(0, message.find('\n'));
    if (message.find("Operation not permitted") != std::string::npos)
      return Error(ErrorCode::denied, "nftables: needs root (CAP_NET_ADMIN)");
    if (message.find("not supported") != std::string::npos)
      return Error("the kernel's nftables cannot do NAT (modules nf_tables, nft_nat, nft_masq): " +
                   message);
    return Error("nftables: " + message);
  }
  return std::string(nft_ctx_get_output_buffer(nft.get()));
}

std::string set_of(const char* name, const std::set<Prefix>& prefixes, bool v4) {
  std::string elements;
  for (const Prefix& prefix : prefixes)
    if (prefix.address.is_v4() == v4)
      elements += (elements.empty() ? "" : ", ") + prefix.to_string();
  std::string out = std::string("  set ") + name + (v4 ? "4" : "6") + " { type " +
                    (v4 ? "ipv4_addr" : "ipv6_addr") + "; flags interval; auto-merge; ";
  if (!elements.empty()) out += "elements = { " + elements + " }; ";
  return out + "}\n";
}

std::string table_text(const NatSpec& spec) {
  std::string text = "add table inet weft\ndelete table inet weft\ntable inet weft {\n";
  for (const bool v4 : {true, false}) {
    text += set_of("subnets", spec.subnets, v4);
    text += set_of("outgoing", spec.outgoing, v4);
  }
  return text +
         "  chain postrouting { type nat hook postrouting priority srcnat; policy accept;\n"
         "    oifname \"weft0\" return\n"
         "    ip saddr @outgoing4 ip daddr != @subnets4 masquerade\n"
         "    ip6 saddr @outgoing6 ip6 daddr != @subnets6 masquerade\n"
         "  }\n"
         "  chain forward { type filter hook forward priority filter; policy accept;\n"
         "    iifname \"wf*\" accept\n"
         "    oifname \"weft0\" ct state established,related accept\n"
         "    oifname \"weft0\" ip daddr @subnets4 drop\n"
         "    oifname \"weft0\" ip6 daddr @subnets6 drop\n"
         "  }\n"
         "}\n";
}

struct Chain {
  std::string name;  // "ip filter FORWARD"
  bool drops = false;
  std::vector<std::string> our_rules;  // handles
};

// Forward chains of other tables, out of the text of `list ruleset`.
std::vector<Chain> forward_chains(const std::string& ruleset) {
  std::vector<Chain> chains;
  std::istringstream lines(ruleset);
  std::string line;
  std::string table;
  std::string chain;
  std::optional<Chain> current;
  while (std::getline(lines, line)) {
    std::istringstream words(line);
    std::string first;
    std::string second;
    std::string third;
    words >> first >> second >> third;
    if (first == "table") {
      table = second + " " + third;
    } else if (first == "chain") {
      chain = second;
      current.reset();
    } else if (first == "type" && line.find("hook forward") != std::string::npos &&
               table != "inet weft" &&
               (table.starts_with("ip ") || table.starts_with("ip6 ") ||
                table.starts_with("inet "))) {
      current = Chain{table + " " + chain, line.find("policy drop") != std::string::npos, {}};
    } else if (current && first == "}") {
      chains.push_back(*current);
      current.reset();
    } else if (current && line.find("comment \"weft\"") != std::string::npos) {
      if (const auto at = line.find("# handle "); at != std::string::npos)
        current->our_rules.push_back(line.substr(at + 9));
    }
  }
  return chains;
}

std::string remove_rules(const Chain& chain) {
  std::string commands;
  for (const std::string& handle : chain.our_rules)
    commands += "delete rule " + chain.name + " handle " + handle + "\n";
  return commands;
}

std::vector<std::string> legacy_warnings() {
  for (const char* path : {"/proc/net/ip_tables_names", "/proc/net/ip6_tables_names"}) {
    std::ifstream names(path);
    for (std::string name; std::getline(names, name);)
      if (name == "filter")
        return {
            "this node also filters with iptables-legacy; if its FORWARD policy is DROP, "
            "containers cannot reach the outside: iptables-legacy -I FORWARD -i wf+ -j ACCEPT; "
            "iptables-legacy -I FORWARD -o weft0 -j ACCEPT"};
  }
  return {};
}

}  // namespace

Result<std::vector<std::string>> apply_nat(int netns, const NatSpec& spec) {
  const auto apply = [&]() -> Result<std::vector<std::string>> {
    std::string commands = table_text(spec);
    for (const Chain& chain : forward_chains(TRY(run_nft("list ruleset", true)))) {
      // A chain that has both rules keeps them: a transaction without change costs other tools
      // less.
      if (chain.drops && chain.our_rules.size() == 2) continue;
      commands += remove_rules(chain);
      if (chain.drops)
        commands += "insert rule " + chain.name +
                    " iifname \"wf*\" counter accept comment \"weft\"\n" + "insert rule " +
                    chain.name + " oifname \"weft0\" counter accept comment \"weft\"\n";
    }
    TRY(run_nft(commands));
    return legacy_warnings();
  };
  return netns < 0 ? apply() : netns::in_netns(netns, apply);
}

Result<> remove_nat(int netns) {
  const auto remove = [&]() -> Result<> {
    std::string commands = "add table inet weft\ndelete table inet weft\n";
    for (const Chain& chain : forward_chains(TRY(run_nft("list ruleset", true))))
      commands += remove_rules(chain);
    TRY(run_nft(commands));
    return Ok;
  };
  return netns < 0 ? remove() : netns::run_in_netns(netns, remove);
}

}  // namespace weft::link
