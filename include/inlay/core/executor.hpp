// How parallel work reaches the host's threads. The library starts no thread of its own: a host passes an executor.
#ifndef INLAY_CORE_EXECUTOR_HPP_
#define INLAY_CORE_EXECUTOR_HPP_

#include <concepts>
#include <cstddef>
#include <memory>
#include <type_traits>
#include <utility>

#include "inlay/core/macros.hpp"

INLAY_BEGIN_NAMESPACE

// A reference to any callable, two pointers wide, no heap. The callable must outlive the call it is passed to.
template <class Signature>
class FunctionRef;

template <class R, class... Args>
class FunctionRef<R(Args...)> {
 public:
  template <class F>
    requires(!std::is_same_v<std::remove_cvref_t<F>, FunctionRef> && std::is_invocable_r_v<R, F&, Args...>)
  FunctionRef(F&& function)  // NOLINT: implicit by design
      // Not static_cast: a function's address converts to void* only so.
      : object_(const_cast<void*>(reinterpret_cast<const void*>(std::addressof(function)))),
        call_([](void* object, Args... args) -> R {
          return (*reinterpret_cast<std::remove_reference_t<F>*>(object))(std::forward<Args>(args)...);
        }) {}
  R operator()(Args... args) const { return call_(object_, std::forward<Args>(args)...); }

 private:
  void* object_;
  R (*call_)(void*, Args...);
};

// What the library needs of a host's threads: how many run at once, and a way to call f(0) ... f(n - 1), each exactly
// once, in any order and on any threads, returning when all are done. Run is not called from inside a task. Results are the same
// in every order; for speed, threads take the tasks one by one as they get free, in order, since long ones come first (OpenMP:
// schedule(dynamic, 1)). Fixed blocks of tasks would be uneven.
template <class E>
concept Executor = requires(E& e, std::size_t n, FunctionRef<void(std::size_t)> f) {
  { e.concurrency() } -> std::convertible_to<std::size_t>;
  e.Run(n, f);
};

// Everything on the calling thread.
struct SerialExecutor {
  static constexpr std::size_t concurrency() { return 1; }
  void Run(std::size_t n, FunctionRef<void(std::size_t)> f) const {
    for (std::size_t i = 0; i < n; ++i) f(i);
  }
};

// Any executor behind one type, so that a model is compiled once and not once per executor. Does not own.
class ExecutorRef {
 public:
  template <class E>
    requires(Executor<E> && !std::is_same_v<std::remove_cvref_t<E>, ExecutorRef>)
  ExecutorRef(E& executor)  // NOLINT: implicit by design
      : object_(const_cast<void*>(static_cast<const void*>(std::addressof(executor)))),
        concurrency_(executor.concurrency()),
        run_([](void* object, std::size_t n, FunctionRef<void(std::size_t)> f) {
          static_cast<E*>(object)->Run(n, f);
        }) {}

  std::size_t concurrency() const { return concurrency_; }
  // One task, or one thread, never pays for synchronisation.
  template <class F>
  void Run(std::size_t n, F&& f) const {
    if (n <= 1 || concurrency_ <= 1) {
      for (std::size_t i = 0; i < n; ++i) f(i);
    } else {
      run_(object_, n, FunctionRef<void(std::size_t)>(f));
    }
  }

 private:
  void* object_;
  std::size_t concurrency_;
  void (*run_)(void*, std::size_t, FunctionRef<void(std::size_t)>);
};

INLAY_END_NAMESPACE

#endif  // INLAY_CORE_EXECUTOR_HPP_
