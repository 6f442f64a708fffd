// SPDX-License-Identifier: Apache-2.0
// What each node's events have told, beside the truth.
#include <algorithm>
#include <cstdlib>

#include "sim/cluster.h"

namespace weft::sim {

using cluster::Event;
using cluster::MemberState;

namespace {

uint64_t write_number(const std::string& value) {
  return std::strtoull(value.c_str(), nullptr, 10);
}

}  // namespace

// The record is what its owner holds now.
bool Cluster::written(const Event& event) const {
  const auto& truth = nodes_[index_.at(event.member)].truth;
  const auto scope = truth.find(event.scope);
  if (scope == truth.end()) return false;
  const auto record = scope->second.find(event.key);
  return record != scope->second.end() && record->second == event.value;
}

void Cluster::watch(size_t i, const Event& event) {
  Node& node = nodes_[i];
  const RecordKey key{event.scope, event.member, event.key};
  switch (event.kind) {
    case Event::Kind::record_set:
    case Event::Kind::record_restored: {
      const auto erased = node.erased.find(key);
      if (erased != node.erased.end() && write_number(event.value) <= erased->second &&
          !written(event)) {
        resurrections_.push_back("node " + std::to_string(i) + ": " + event.key + " of node " +
                                 std::to_string(index_.at(event.member)) + " in scope " +
                                 std::to_string(event.scope) + " is back as " + event.value);
      }
      node.view[key] = event.value;
      node.hidden.erase(key);
      break;
    }
    case Event::Kind::record_hidden:
      node.view.erase(key);
      node.hidden.insert(key);
      break;
    case Event::Kind::record_erased: {
      node.hidden.erase(key);
      const auto it = node.view.find(key);
      if (it == node.view.end()) break;
      uint64_t& highest = node.erased[key];
      highest = std::max(highest, write_number(it->second));
      node.view.erase(it);
      break;
    }
    case Event::Kind::member_alive:
      node.states[index_.at(event.member)] = MemberState::alive;
      break;
    case Event::Kind::member_suspect:
      node.states[index_.at(event.member)] = MemberState::suspect;
      break;
    case Event::Kind::member_left:
    case Event::Kind::member_forgotten:
      node.states[index_.at(event.member)] = MemberState::left;
      break;
    case Event::Kind::member_dead: {
      const size_t other = index_.at(event.member);
      node.states[other] = MemberState::dead;
      if (up(other) && !nodes_[other].leaving && connected(i, other) && connected(other, i)) {
        ++false_deaths_;
      }
      break;
    }
    default:
      break;
  }
}

bool Cluster::knows(size_t i, size_t owner, ScopeId scope, const std::string& key) const {
  const auto& truth = nodes_[owner].truth.at(scope);
  const auto wanted = truth.find(key);
  const auto seen = nodes_[i].view.find({scope, nodes_[owner].id, key});
  if (wanted == truth.end()) return seen == nodes_[i].view.end();
  return seen != nodes_[i].view.end() && seen->second == wanted->second;
}

std::string Cluster::hidden_for_good() const {
  for (size_t i = 0; i < size(); ++i) {
    if (!up(i)) continue;
    for (const auto& [scope, owner, key] : nodes_[i].hidden) {
      const size_t other = index_.at(owner);
      if (state_of(i, other) != MemberState::alive) continue;
      return "node " + std::to_string(i) + ": " + key + " of node " + std::to_string(other) +
             " in scope " + std::to_string(scope) + " is hidden, neither back nor erased";
    }
  }
  return "";
}

bool Cluster::everywhere(size_t other, MemberState state) const {
  for (size_t i = 0; i < size(); ++i) {
    if (i != other && up(i) && state_of(i, other) != state) return false;
  }
  return true;
}

bool Cluster::converged(std::string* why) const {
  auto differs = [&](size_t i, const std::string& what) {
    if (why) *why = "node " + std::to_string(i) + ": " + what;
    return false;
  };
  std::map<ScopeId, std::vector<cluster::RecordView>> wanted;
  size_t running = 0;
  for (const auto& [id, owner] : index_) {
    const Node& node = nodes_[owner];
    if (!node.gossip || node.leaving) continue;
    ++running;
    for (const auto& [scope, records] : node.truth) {
      auto& list = wanted[scope];
      for (const auto& [key, value] : records) list.push_back({id, key, value});
    }
  }
  for (size_t i = 0; i < size(); ++i) {
    const Node& node = nodes_[i];
    if (!node.gossip || node.leaving) continue;
    if (node.gossip->alive_members() != running) {
      return differs(i, std::to_string(node.gossip->alive_members()) + " members alive, not " +
                            std::to_string(running));
    }
    for (const auto& member : node.gossip->members()) {
      const Node& other = nodes_[index_.at(member.id)];
      const bool alive = other.gossip && !other.leaving;
      if (member.state != state_of(i, index_.at(member.id))) {
        return differs(i, "events tell another state of " + member.info.name);
      }
      if (alive != (member.state == MemberState::alive)) {
        return differs(i, member.info.name + " is " + to_string(member.state));
      }
    }
    size_t visible = 0;
    for (const auto& [scope, records] : node.truth) {
      const auto have = node.gossip->records(scope);
      const auto& want = wanted[scope];
      if (have != want) {
        return differs(i, std::to_string(have.size()) + " records in scope " +
                              std::to_string(scope) + ", wanted " + std::to_string(want.size()));
      }
      visible += have.size();
      for (const auto& record : have) {
        const auto it = node.view.find({scope, record.owner, record.key});
        if (it == node.view.end() || it->second != record.value) {
          return differs(i, "events do not tell of " + record.key);
        }
      }
    }
    if (visible != node.view.size()) return differs(i, "events tell of more than there is");
  }
  return true;
}

}  // namespace weft::sim
