// What cannot run tasks is not an executor; the message names the concept and what is missing.
// expect: Executor
// expect: concurrency
#include "inlay/core/executor.hpp"

struct Host {
#if defined(CONTROL)
  std::size_t concurrency() const { return 1; }
#endif
  void Run(std::size_t, inlay::FunctionRef<void(std::size_t)>) {}
};

void Caller(Host& host) { inlay::ExecutorRef executor(host); (void)executor; }
