// The instrument itself: a counter that sees nothing would prove everything.
#define BOOST_TEST_DYN_LINK
#include "tests/support/allocation_counter.hpp"

#include <boost/test/unit_test.hpp>

#include <cstdlib>
#include <memory>
#include <new>
#include <thread>
#include <vector>

#include "inlay/core/owned_buffer.hpp"
#include "inlay/core/thread_pool.hpp"
#include "tests/support/fixtures.hpp"

namespace {

// Keeps the compiler from leaving out an allocation that nothing reads.
void Use(void* pointer) { asm volatile("" : : "r"(pointer) : "memory"); }

}  // namespace

BOOST_AUTO_TEST_SUITE(support_allocation_counter)

BOOST_AUTO_TEST_CASE(SeesEveryKindOfAllocation) {
  const auto count = [](auto allocate) {
    const inlay_test::AllocationScope scope;
    allocate();
    return scope.counts();
  };
  const auto by_malloc = count([] {
    void* pointer = std::malloc(100);
    Use(pointer);
    std::free(pointer);
  });
  BOOST_TEST(by_malloc.allocations == 1u);
  BOOST_TEST(by_malloc.frees == 1u);
  BOOST_TEST(by_malloc.bytes == 100u);
  const auto by_calloc = count([] {
    void* pointer = std::calloc(3, 50);
    Use(pointer);
    std::free(pointer);
  });
  BOOST_TEST(by_calloc.allocations == 1u);
  BOOST_TEST(by_calloc.bytes == 150u);
  const auto by_realloc = count([] {
    void* pointer = std::malloc(10);
    Use(pointer);
    pointer = std::realloc(pointer, 5000);
    Use(pointer);
    std::free(pointer);
  });
  BOOST_TEST(by_realloc.allocations == 2u);
  const auto by_new = count([] { Use(std::make_unique<int>(3).get()); });
  BOOST_TEST(by_new.allocations == 1u);
  BOOST_TEST(by_new.frees == 1u);
  const auto by_aligned_new = count([] { Use(inlay::OwnedBuffer::Create(4096)->bytes().data()); });
  BOOST_TEST(by_aligned_new.allocations == 1u);
  BOOST_TEST(by_aligned_new.bytes >= 4096u);
  const auto by_vector = count([] { Use(std::vector<int>(1000).data()); });
  BOOST_TEST(by_vector.allocations == 1u);
  const auto by_nothing = count([] {});
  BOOST_TEST(by_nothing.allocations == 0u);
  BOOST_TEST(by_nothing.frees == 0u);
}

BOOST_AUTO_TEST_CASE(SeesOtherThreads) {
  const inlay_test::AllocationScope scope;
  std::thread([] { Use(std::make_unique<int>(3).get()); }).join();
  BOOST_TEST(scope.counts().allocations >= 2u);  // the thread's own state, and the int
}

BOOST_AUTO_TEST_CASE(RefusesOneOrAllFollowing) {
  if (!inlay_test::CanRefuseAllocations()) {
    inlay_test::Skip("RefusesOneOrAllFollowing", "a sanitizer owns the heap");
    return;
  }
  using Refuse = inlay_test::RefuseAllocations::Refuse;
  for (const Refuse refuse : {Refuse::kOne, Refuse::kAllFollowing}) {
    void* pointers[4] = {};
    bool refused_early = true;
    bool refused = false;
    {
      const inlay_test::RefuseAllocations refusing(2, refuse);
      pointers[0] = std::malloc(1);
      pointers[1] = ::operator new(1, std::nothrow);
      refused_early = refusing.refused();
      pointers[2] = ::operator new(1, std::align_val_t{64}, std::nothrow);
      pointers[3] = std::malloc(1);
      refused = refusing.refused();
    }
    BOOST_TEST(pointers[0] != nullptr);
    BOOST_TEST(pointers[1] != nullptr);
    BOOST_TEST(pointers[2] == nullptr);
    BOOST_TEST((pointers[3] != nullptr) == (refuse == Refuse::kOne));
    BOOST_TEST(!refused_early);
    BOOST_TEST(refused);
    std::free(pointers[0]);
    ::operator delete(pointers[1]);
    std::free(pointers[3]);
  }
}

BOOST_AUTO_TEST_CASE(OwnedBufferReportsAnExhaustedHeap) {
  if (!inlay_test::CanRefuseAllocations()) {
    inlay_test::Skip("OwnedBufferReportsAnExhaustedHeap", "a sanitizer owns the heap");
    return;
  }
  inlay::Error error;
  bool has_value = true;
  {
    const inlay_test::RefuseAllocations refusing(0, inlay_test::RefuseAllocations::Refuse::kAllFollowing);
    const auto buffer = inlay::OwnedBuffer::Create(4096, "cache");
    has_value = buffer.has_value();
    if (!has_value) error = buffer.error();
  }
  BOOST_TEST(!has_value);
  BOOST_TEST((error.code == inlay::ErrorCode::kOutOfMemory));
  BOOST_TEST(error.field.view() == "cache");
}

// The promise of ThreadPool: nothing is allocated once it stands.
BOOST_AUTO_TEST_CASE(ThreadPoolAllocatesOnlyWhenMade) {
  inlay::ThreadPool pool(3);
  std::vector<int> calls(64, 0);
  pool.Run(calls.size(), [&](std::size_t i) { ++calls[i]; });
  const inlay_test::AllocationScope scope;
  for (int round = 0; round < 100; ++round) pool.Run(calls.size(), [&](std::size_t i) { ++calls[i]; });
  const auto counts = scope.counts();
  BOOST_TEST(counts.allocations == 0u);
  BOOST_TEST(counts.frees == 0u);
  BOOST_TEST(calls[63] == 101);
}

BOOST_AUTO_TEST_SUITE_END()
