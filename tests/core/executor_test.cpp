#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <atomic>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "inlay/core/executor.hpp"

namespace {

// A host's executor: counts the runs, and calls the tasks backwards to show that order is not promised.
class BackwardsExecutor {
 public:
  explicit BackwardsExecutor(std::size_t concurrency) : concurrency_(concurrency) {}
  std::size_t concurrency() const { return concurrency_; }
  void Run(std::size_t n, inlay::FunctionRef<void(std::size_t)> f) {
    ++runs_;
    for (std::size_t i = n; i > 0; --i) f(i - 1);
  }
  int runs() const { return runs_; }

 private:
  std::size_t concurrency_;
  int runs_ = 0;
};

struct NotAnExecutor {
  void Run(std::size_t, inlay::FunctionRef<void(std::size_t)>) {}
};

int Twice(int value) { return 2 * value; }

}  // namespace

BOOST_AUTO_TEST_SUITE(core_executor)

BOOST_AUTO_TEST_CASE(ConceptAcceptsWhatRunsTasks) {
  static_assert(inlay::Executor<inlay::SerialExecutor>);
  static_assert(inlay::Executor<const inlay::SerialExecutor>);
  static_assert(inlay::Executor<BackwardsExecutor>);
  static_assert(!inlay::Executor<NotAnExecutor>);
  static_assert(!inlay::Executor<int>);
  BOOST_TEST(inlay::SerialExecutor::concurrency() == 1u);
}

BOOST_AUTO_TEST_CASE(SerialExecutorRunsInOrder) {
  std::vector<std::size_t> calls;
  inlay::SerialExecutor().Run(4, [&](std::size_t i) { calls.push_back(i); });
  const std::vector<std::size_t> expected = {0, 1, 2, 3};
  BOOST_TEST(calls == expected);
}

BOOST_AUTO_TEST_CASE(ReferenceForwardsToTheExecutor) {
  BackwardsExecutor executor(2);
  const inlay::ExecutorRef reference(executor);
  BOOST_TEST(reference.concurrency() == 2u);
  std::vector<std::size_t> calls;
  reference.Run(3, [&](std::size_t i) { calls.push_back(i); });
  const std::vector<std::size_t> expected = {2, 1, 0};
  BOOST_TEST(calls == expected);
  BOOST_TEST(executor.runs() == 1);
}

BOOST_AUTO_TEST_CASE(ReferenceSkipsTheExecutorForOneTaskOrOneThread) {
  BackwardsExecutor two(2);
  BackwardsExecutor one(1);
  std::size_t calls = 0;
  inlay::ExecutorRef(two).Run(1, [&](std::size_t) { ++calls; });
  inlay::ExecutorRef(two).Run(0, [&](std::size_t) { ++calls; });
  inlay::ExecutorRef(one).Run(5, [&](std::size_t) { ++calls; });
  BOOST_TEST(calls == 6u);
  BOOST_TEST(two.runs() == 0);
  BOOST_TEST(one.runs() == 0);
}

BOOST_AUTO_TEST_CASE(FunctionRefCallsAnyCallable) {
  const inlay::FunctionRef<int(int)> function(Twice);
  BOOST_TEST(function(4) == 8);
  int offset = 5;
  auto lambda = [&offset](int value) { return value + offset; };
  const inlay::FunctionRef<int(int)> by_reference(lambda);
  offset = 7;
  BOOST_TEST(by_reference(1) == 8);
  const auto constant = [](int value) { return -value; };
  BOOST_TEST(inlay::FunctionRef<int(int)>(constant)(3) == -3);
  auto counter = [calls = 0](int) mutable { return ++calls; };
  const inlay::FunctionRef<int(int)> stateful(counter);
  stateful(0);
  BOOST_TEST(stateful(0) == 2);
}

BOOST_AUTO_TEST_CASE(FunctionRefForwardsMoveOnlyArguments) {
  auto take = [](std::unique_ptr<std::string> text) { return std::move(*text); };
  const inlay::FunctionRef<std::string(std::unique_ptr<std::string>)> function(take);
  BOOST_TEST(function(std::make_unique<std::string>("moved")) == "moved");
}

BOOST_AUTO_TEST_SUITE_END()
