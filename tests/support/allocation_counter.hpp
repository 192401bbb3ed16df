// Counts, and on request refuses, heap allocations: what proves that the library takes no memory after set-up and that
// it survives a heap that is exhausted.
//
// allocation_counter.cpp puts itself between every program that it is linked into and the heap: malloc and its relatives,
// therefore operator new too. Under the sanitizers, which own malloc, it counts through their hooks and cannot refuse.
#ifndef INLAY_TESTS_SUPPORT_ALLOCATION_COUNTER_HPP_
#define INLAY_TESTS_SUPPORT_ALLOCATION_COUNTER_HPP_

#include <cstdint>

namespace inlay_test {

struct AllocationCounts {
  std::uint64_t allocations = 0;  // malloc, calloc, realloc, aligned_alloc, ...
  std::uint64_t frees = 0;        // of anything but a null pointer
  std::uint64_t bytes = 0;        // asked for
};

// Since the program started, over all threads.
AllocationCounts TotalAllocations();

// What happened since construction, over all threads. Nothing else may run at the same time.
class AllocationScope {
 public:
  AllocationScope() : start_(TotalAllocations()) {}
  AllocationCounts counts() const {
    const AllocationCounts now = TotalAllocations();
    return {now.allocations - start_.allocations, now.frees - start_.frees, now.bytes - start_.bytes};
  }

 private:
  AllocationCounts start_;
};

// Whether RefuseAllocations works in this build.
bool CanRefuseAllocations();

// While it lives, the first `granted` allocations of the thread that made it succeed and the following ones return null
// (all of them, or only one). Keep test assertions out of its life: they allocate.
class RefuseAllocations {
 public:
  enum class Refuse { kOne, kAllFollowing };
  RefuseAllocations(std::uint64_t granted, Refuse refuse);
  ~RefuseAllocations();
  RefuseAllocations(const RefuseAllocations&) = delete;
  RefuseAllocations& operator=(const RefuseAllocations&) = delete;

  // Whether an allocation was refused so far.
  bool refused() const;
};

}  // namespace inlay_test

#endif  // INLAY_TESTS_SUPPORT_ALLOCATION_COUNTER_HPP_
