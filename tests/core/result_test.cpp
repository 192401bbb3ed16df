#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <memory>
#include <string>
#include <type_traits>

#include "inlay/core/result.hpp"

namespace {

inlay::Result<int> Half(int value) {
  if (value % 2 != 0) return inlay::FailAt(inlay::ErrorCode::kMismatch, 7, "value", "must be even, is ", value);
  return value / 2;
}

inlay::Result<int> Quarter(int value) {
  INLAY_ASSIGN_OR_RETURN(const int half, Half(value));
  INLAY_ASSIGN_OR_RETURN(const int quarter, Half(half));
  return quarter;
}

inlay::Result<void> CheckQuarter(int value) {
  INLAY_CHECK_OK(Quarter(value));
  return {};
}

// Counts its live instances, to see that Result destroys what it constructs.
struct Counted {
  explicit Counted(int* count) : count_(count) { ++*count_; }
  Counted(const Counted& other) : count_(other.count_) { ++*count_; }
  Counted(Counted&& other) noexcept : count_(other.count_) { ++*count_; }
  Counted& operator=(const Counted&) = default;
  ~Counted() { --*count_; }
  int* count_;
};

}  // namespace

BOOST_AUTO_TEST_SUITE(core_result)

BOOST_AUTO_TEST_CASE(HoldsAValue) {
  const inlay::Result<int> result = Half(8);
  BOOST_TEST(result.has_value());
  BOOST_TEST(static_cast<bool>(result));
  BOOST_TEST(*result == 4);
  BOOST_TEST(result.value_or(-1) == 4);
}

BOOST_AUTO_TEST_CASE(HoldsAnError) {
  const inlay::Result<int> result = Half(5);
  BOOST_TEST(!result.has_value());
  BOOST_TEST((result.error().code == inlay::ErrorCode::kMismatch));
  BOOST_TEST(result.error().offset == 7u);
  BOOST_TEST(result.error().field.view() == "value");
  BOOST_TEST(result.error().detail.view() == "must be even, is 5");
  BOOST_TEST(result.value_or(-1) == -1);
}

BOOST_AUTO_TEST_CASE(MacrosPassOnTheFirstError) {
  BOOST_TEST(*Quarter(12) == 3);
  BOOST_TEST(Quarter(5).error().detail.view() == "must be even, is 5");
  BOOST_TEST(Quarter(6).error().detail.view() == "must be even, is 3");
  BOOST_TEST(CheckQuarter(4).has_value());
  BOOST_TEST(CheckQuarter(6).error().detail.view() == "must be even, is 3");
}

BOOST_AUTO_TEST_CASE(VoidResult) {
  const inlay::Result<void> good;
  BOOST_TEST(good.has_value());
  const inlay::Result<void> bad = inlay::Fail(inlay::ErrorCode::kCancelled, "run");
  BOOST_TEST(!bad.has_value());
  BOOST_TEST((bad.error().code == inlay::ErrorCode::kCancelled));
}

BOOST_AUTO_TEST_CASE(MoveOnlyValuesMove) {
  inlay::Result<std::unique_ptr<int>> first = std::make_unique<int>(3);
  static_assert(!std::is_copy_constructible_v<inlay::Result<std::unique_ptr<int>>>);
  inlay::Result<std::unique_ptr<int>> second = std::move(first);
  BOOST_TEST(**second == 3);
  const std::unique_ptr<int> out = *std::move(second);
  BOOST_TEST(*out == 3);
}

BOOST_AUTO_TEST_CASE(DestroysWhatItHolds) {
  int count = 0;
  {
    inlay::Result<Counted> a = Counted(&count);
    inlay::Result<Counted> b = a;
    BOOST_TEST(count == 2);
    b = inlay::Fail(inlay::ErrorCode::kMissing, "x");
    BOOST_TEST(count == 1);
    b = a;
    BOOST_TEST(count == 2);
    b = std::move(a);
    BOOST_TEST(count == 2);
    inlay::Result<Counted>& alias = b;
    b = alias;
    BOOST_TEST(count == 2);
  }
  BOOST_TEST(count == 0);
}

BOOST_AUTO_TEST_CASE(WorksInConstantExpressions) {
  constexpr auto parse = [](int value) -> inlay::Result<int> {
    if (value < 0) return inlay::Fail(inlay::ErrorCode::kTooLarge, "value", "is ", value);
    return value;
  };
  static_assert(*parse(4) == 4);
  static_assert(parse(-4).error().detail.view() == "is -4");
  BOOST_TEST(*parse(4) == 4);
}

BOOST_AUTO_TEST_SUITE_END()
