// A small thread pool for hosts that have none: workers spin briefly between tasks, then sleep.
//
// Apart from executor.hpp because it needs <thread>: firmware and single-threaded browsers never include it.
#ifndef INLAY_CORE_THREAD_POOL_HPP_
#define INLAY_CORE_THREAD_POOL_HPP_

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#endif

#include "inlay/core/executor.hpp"
#include "inlay/core/macros.hpp"

INLAY_BEGIN_NAMESPACE

namespace detail {
inline void SpinPause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__) || (defined(__arm__) && __ARM_ARCH >= 7)
  asm volatile("yield");
#endif
}
}  // namespace detail

// CPUs that this process may run on: the affinity mask where there is one (containers narrow it), else the hardware's.
inline std::size_t AvailableCpus() {
#if defined(__linux__)
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) {
    const int count = CPU_COUNT(&set);
    if (count > 0) return static_cast<std::size_t>(count);
  }
#endif
  const unsigned count = std::thread::hardware_concurrency();
  return count == 0 ? 1 : count;
}

// An Executor over `threads` threads, the caller's included. Tasks are claimed one by one from a shared counter, so a
// thread that the system delays does not hold up the rest. Run is called by one thread at a time. Between runs a worker
// spins for at most 50 us and then sleeps in the kernel; with more threads than CPUs it never spins (a spinning thread
// would take the CPU from one that works). No allocation or lock after construction.
class ThreadPool {
 public:
  explicit ThreadPool(std::size_t threads) : threads_(threads == 0 ? 1 : threads) {
    spin_ = threads_ <= AvailableCpus();
    if (threads_ > 1) workers_ = std::make_unique<std::thread[]>(threads_ - 1);
    for (std::size_t i = 0; i + 1 < threads_; ++i) workers_[i] = std::thread([this] { Work(); });
  }
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  ~ThreadPool() {
    stop_.store(true, std::memory_order_relaxed);
    epoch_.fetch_add(1, std::memory_order_release);
    epoch_.notify_all();
    for (std::size_t i = 0; i + 1 < threads_; ++i) workers_[i].join();
  }

  std::size_t concurrency() const { return threads_; }

  void Run(std::size_t n, FunctionRef<void(std::size_t)> f) {
    if (threads_ == 1 || n <= 1) {
      for (std::size_t i = 0; i < n; ++i) f(i);
      return;
    }
    function_ = &f;
    count_ = n;
    next_.store(0, std::memory_order_relaxed);
    busy_.store(static_cast<std::uint32_t>(threads_ - 1), std::memory_order_relaxed);
    epoch_.fetch_add(1, std::memory_order_seq_cst);
    // A worker announces itself in sleepers_ before it checks the epoch for the last time: either it sees this epoch or
    // we see it here. The system call is skipped while everybody spins.
    if (sleepers_.load(std::memory_order_seq_cst) != 0) epoch_.notify_all();
    Drain();
    WaitUntil([this] { return busy_.load(std::memory_order_acquire) == 0; });
    for (std::uint32_t left = busy_.load(std::memory_order_acquire); left != 0;
         left = busy_.load(std::memory_order_acquire)) {
      busy_.wait(left, std::memory_order_acquire);
    }
  }

 private:
  static constexpr std::chrono::microseconds kSpinTime{50};

  void Drain() {
    for (std::size_t i = next_.fetch_add(1, std::memory_order_relaxed); i < count_;
         i = next_.fetch_add(1, std::memory_order_relaxed)) {
      (*function_)(i);
    }
  }

  // Spins until the condition holds or the time is up. The clock is read once in 64 rounds: it costs more than a pause.
  template <class Condition>
  bool WaitUntil(Condition condition) const {
    if (condition()) return true;
    if (!spin_) return false;
    const auto deadline = std::chrono::steady_clock::now() + kSpinTime;
    for (;;) {
      for (int i = 0; i < 64; ++i) {
        detail::SpinPause();
        if (condition()) return true;
      }
      if (std::chrono::steady_clock::now() >= deadline) return false;
    }
  }

  void Work() {
    std::uint32_t seen = 0;
    for (;;) {
      if (!WaitUntil([&] { return epoch_.load(std::memory_order_acquire) != seen; })) {
        sleepers_.fetch_add(1, std::memory_order_seq_cst);
        while (epoch_.load(std::memory_order_seq_cst) == seen) epoch_.wait(seen, std::memory_order_seq_cst);
        sleepers_.fetch_sub(1, std::memory_order_relaxed);
      }
      ++seen;
      if (stop_.load(std::memory_order_relaxed)) return;
      Drain();
      if (busy_.fetch_sub(1, std::memory_order_acq_rel) == 1) busy_.notify_one();
    }
  }

  std::size_t threads_;
  bool spin_ = true;
  std::unique_ptr<std::thread[]> workers_;
  const FunctionRef<void(std::size_t)>* function_ = nullptr;
  std::size_t count_ = 0;
  // Each on its own cache line: workers hammer next_ while the caller watches busy_.
  alignas(64) std::atomic<std::uint32_t> epoch_{0};
  alignas(64) std::atomic<std::size_t> next_{0};
  alignas(64) std::atomic<std::uint32_t> busy_{0};
  alignas(64) std::atomic<std::uint32_t> sleepers_{0};
  std::atomic<bool> stop_{false};
};

INLAY_END_NAMESPACE

#endif  // INLAY_CORE_THREAD_POOL_HPP_
