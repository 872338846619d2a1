// Copies of the arrays of one call, each between red zones, and what became of them.
#pragma once
#include <cstdint>
#include <deque>
#include <string>
#include <vector>

namespace swy {

class Shadow {
 public:
  enum class Use {
    kRead,    // the plugin may not change it
    kAdd,     // it may: content goes in, the result goes back
    kWrite,   // it may: NaN goes in, the result goes back
    kScratch  // it may: `fill` goes in, nothing goes back
  };
  // What scratch holds before the call.
  explicit Shadow(uint32_t scratch_fill) : fill_(scratch_fill) {}

  // The copy of `bytes` at `original`, which may be null (then null). `name` is kept and must be a literal or outlive
  // this.
  template <class T>
  T* of(std::string name, T* original, int64_t bytes, Use use) {
    return static_cast<T*>(add(std::move(name), const_cast<void*>(static_cast<const void*>(original)), bytes, use));
  }
  // What was done that may not be done, or empty: a red zone or an input was written to.
  std::string damage() const;
  // Carries results back to the originals.
  void give_back() const;

 private:
  struct Region {
    std::string name;
    void* original;
    int64_t bytes;
    Use use;
    std::vector<uint64_t> memory;
  };
  void* add(std::string name, void* original, int64_t bytes, Use use);
  const uint32_t fill_;
  std::deque<Region> regions_;
};

}  // namespace swy
