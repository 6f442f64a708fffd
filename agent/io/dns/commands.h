// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <atomic>
#include <memory>
#include <utility>
#include <vector>

namespace weft::dns {

// Hands values from any thread to one, none lost and in order, without a mutex: a list that is
// pushed to at the front and taken whole.
template <typename T>
class CommandQueue {
 public:
  CommandQueue() = default;
  CommandQueue(const CommandQueue&) = delete;
  CommandQueue& operator=(const CommandQueue&) = delete;
  ~CommandQueue() { take(); }

  void push(T value) {
    auto node = std::make_unique<Node>(Node{std::move(value), head_.load()});
    while (!head_.compare_exchange_weak(node->next, node.get())) {
    }
    node.release();  // the list's now
  }

  std::vector<T> take() {
    std::vector<T> out;
    for (std::unique_ptr<Node> node(head_.exchange(nullptr)); node; node.reset(node->next))
      out.push_back(std::move(node->value));
    std::reverse(out.begin(), out.end());
    return out;
  }

 private:
  struct Node {
    T value;
    Node* next;
  };
  std::atomic<Node*> head_{nullptr};
};

}  // namespace weft::dns
