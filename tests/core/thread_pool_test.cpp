#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "inlay/core/thread_pool.hpp"

BOOST_AUTO_TEST_SUITE(core_thread_pool)

BOOST_AUTO_TEST_CASE(IsAnExecutor) {
  static_assert(inlay::Executor<inlay::ThreadPool>);
  BOOST_TEST(inlay::AvailableCpus() >= 1u);
  BOOST_TEST(inlay::ThreadPool(0).concurrency() == 1u);
  BOOST_TEST(inlay::ThreadPool(3).concurrency() == 3u);
}

// From one thread to far more than this machine has: each task runs exactly once, and everything it wrote can be read
// (without atomics) once Run returns.
BOOST_AUTO_TEST_CASE(EveryTaskRunsOnceOnAnyNumberOfThreads) {
  for (std::size_t threads = 1; threads <= 64; ++threads) {
    inlay::ThreadPool pool(threads);
    for (const std::size_t n : {0u, 1u, 2u, 3u, 63u, 64u, 65u, 200u}) {
      std::vector<std::uint32_t> calls(n, 0);
      pool.Run(n, [&](std::size_t i) { ++calls[i]; });
      for (std::size_t i = 0; i < n; ++i) {
        BOOST_REQUIRE_MESSAGE(calls[i] == 1, "task " << i << " of " << n << " ran " << calls[i] << " times on " << threads);
      }
    }
  }
}

// Many short runs, as a forward pass makes them: the hand-over between runs is where a pool goes wrong.
BOOST_AUTO_TEST_CASE(ManyShortRuns) {
  for (const std::size_t threads : {2u, 3u, 4u, 8u}) {
    inlay::ThreadPool pool(threads);
    const int rounds = threads <= inlay::AvailableCpus() ? 20000 : 2000;
    std::vector<std::uint64_t> sums(7, 0);
    for (int round = 0; round < rounds; ++round) {
      pool.Run(sums.size(), [&](std::size_t i) { sums[i] += i + 1; });
    }
    for (std::size_t i = 0; i < sums.size(); ++i) {
      BOOST_TEST(sums[i] == (i + 1) * static_cast<std::uint64_t>(rounds));
    }
  }
}

// Pauses longer than the spinning send the workers to sleep; they must wake.
BOOST_AUTO_TEST_CASE(WakesAfterSleep) {
  inlay::ThreadPool pool(2);
  for (int round = 0; round < 50; ++round) {
    std::atomic<int> calls{0};
    pool.Run(10, [&](std::size_t) { calls.fetch_add(1); });
    BOOST_TEST(calls.load() == 10);
    std::this_thread::sleep_for(std::chrono::microseconds(round % 2 == 0 ? 200 : 45));
  }
}

BOOST_AUTO_TEST_CASE(TasksReallyRunAtOnce) {
  // Both tasks wait for each other: one thread alone would never finish.
  inlay::ThreadPool pool(2);
  std::atomic<int> arrived{0};
  std::set<std::thread::id> ids;
  std::mutex mutex;
  pool.Run(2, [&](std::size_t) {
    arrived.fetch_add(1);
    while (arrived.load() != 2) std::this_thread::yield();
    const std::lock_guard lock(mutex);
    ids.insert(std::this_thread::get_id());
  });
  BOOST_TEST(ids.size() == 2u);
  BOOST_TEST(ids.contains(std::this_thread::get_id()));
}

// A long task must not keep the other threads from the rest.
BOOST_AUTO_TEST_CASE(SlowTaskDoesNotHoldUpTheOthers) {
  inlay::ThreadPool pool(2);
  std::atomic<int> done{0};
  pool.Run(16, [&](std::size_t i) {
    if (i == 0) {
      while (done.load() != 15) std::this_thread::yield();
    } else {
      done.fetch_add(1);
    }
  });
  BOOST_TEST(done.load() == 15);
}

BOOST_AUTO_TEST_CASE(PoolsComeAndGo) {
  for (int round = 0; round < 200; ++round) {
    inlay::ThreadPool pool(4);
    if (round % 3 == 0) continue;  // never used
    std::atomic<int> calls{0};
    pool.Run(8, [&](std::size_t) { calls.fetch_add(1); });
    BOOST_TEST(calls.load() == 8);
  }
}

BOOST_AUTO_TEST_CASE(TwoPoolsInTwoThreads) {
  std::atomic<int> calls{0};
  const auto work = [&calls] {
    inlay::ThreadPool pool(3);
    for (int round = 0; round < 500; ++round) {
      pool.Run(5, [&](std::size_t) { calls.fetch_add(1); });
    }
  };
  std::thread other(work);
  work();
  other.join();
  BOOST_TEST(calls.load() == 5000);
}

BOOST_AUTO_TEST_SUITE_END()
