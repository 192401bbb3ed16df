#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <cstdint>
#include <limits>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>

#include "inlay/core/status.hpp"

using inlay::ErrorCode;

BOOST_AUTO_TEST_SUITE(core_status)

BOOST_AUTO_TEST_CASE(MessageHasEveryPart) {
  const inlay::Error error =
      inlay::FailAt(ErrorCode::kBadFile, 1234, "tensor blk.0.attn_q.weight", "offset is not a multiple of ", 32);
  BOOST_TEST(error.Message().view() ==
             "bad file: tensor blk.0.attn_q.weight: offset is not a multiple of 32 (at byte 1234)");
}

BOOST_AUTO_TEST_CASE(MessageLeavesOutWhatIsNotThere) {
  BOOST_TEST(inlay::Fail(ErrorCode::kCancelled, "").Message().view() == "cancelled");
  BOOST_TEST(inlay::Fail(ErrorCode::kMissing, "key").Message().view() == "missing: key");
  BOOST_TEST(inlay::FailAt(ErrorCode::kTruncated, 0, "").Message().view() == "truncated (at byte 0)");
}

BOOST_AUTO_TEST_CASE(LongPartsAreCutButTheOffsetStays) {
  const std::string key(5000, 'k');
  const std::string detail(5000, 'd');
  const inlay::Error error = inlay::FailAt(ErrorCode::kBadFile, 987654321, key, detail);
  BOOST_TEST(error.field.size() == 95u);
  BOOST_TEST(error.field.view().ends_with("k..."));
  BOOST_TEST(error.detail.size() == 191u);
  BOOST_TEST(error.detail.view().ends_with("d..."));
  BOOST_TEST(error.Message().view().ends_with("d... (at byte 987654321)"));
  const inlay::Error last =
      inlay::FailAt(ErrorCode::kContextFull, std::numeric_limits<std::uint64_t>::max() - 1, key, detail);
  BOOST_TEST(last.Message().view().ends_with("(at byte 18446744073709551614)"));
}

BOOST_AUTO_TEST_CASE(EveryCodeHasItsOwnName) {
  std::set<std::string_view> names;
  for (int code = 0; code <= static_cast<int>(ErrorCode::kSystem); ++code) {
    const std::string_view name = inlay::Name(static_cast<ErrorCode>(code));
    BOOST_TEST(name != "unknown");
    BOOST_TEST(names.insert(name).second, "two codes are called " << name);
  }
}

BOOST_AUTO_TEST_CASE(ErrorsAreValuesWithoutHeap) {
  static_assert(std::is_trivially_copyable_v<inlay::Error>);
  static_assert(inlay::Fail(ErrorCode::kTooLarge, "n", "is ", 3).detail.view() == "is 3");
  BOOST_TEST(sizeof(inlay::Error) <= 512u);
}

BOOST_AUTO_TEST_SUITE_END()
