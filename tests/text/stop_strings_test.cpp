#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "inlay/core/owned_buffer.hpp"
#include "inlay/generate/random.hpp"
#include "inlay/text/stop_strings.hpp"
#include "tests/support/allocation_counter.hpp"

namespace {

using inlay::StopMatcher;
using inlay::StopResult;

class Owned {
 public:
  Owned(const std::vector<std::string>& stops, std::size_t max_chunk) {
    std::vector<std::string> copies = stops;  // gone when the matcher is used
    const std::vector<std::string_view> views(copies.begin(), copies.end());
    memory_ = std::move(*inlay::OwnedBuffer::Create(StopMatcher::MemoryBytes(views, max_chunk)));
    auto arena = *inlay::Arena::Create(memory_.bytes());
    auto matcher = StopMatcher::Create(views, max_chunk, arena);
    BOOST_REQUIRE(matcher);
    BOOST_TEST(arena.remaining() == 0u);
    matcher_.emplace(*matcher);
  }
  StopMatcher* operator->() { return &*matcher_; }

 private:
  inlay::OwnedBuffer memory_;
  std::optional<StopMatcher> matcher_;
};

struct Outcome {
  std::string text;
  std::size_t stop = StopResult::kNone;
  bool operator==(const Outcome&) const = default;
};

Outcome Oracle(const std::string& text, const std::vector<std::string>& stops) {
  for (std::size_t end = 1; end <= text.size(); ++end) {
    std::size_t best = StopResult::kNone;
    for (std::size_t i = 0; i < stops.size(); ++i) {
      const bool here = end >= stops[i].size() && text.compare(end - stops[i].size(), stops[i].size(), stops[i]) == 0;
      if (here && (best == StopResult::kNone || stops[i].size() > stops[best].size())) best = i;
    }
    if (best != StopResult::kNone) return {text.substr(0, end - stops[best].size()), best};
  }
  return {text};
}

// The longest end of the text that begins a stop string.
std::size_t Held(const std::string& text, const std::vector<std::string>& stops) {
  for (std::size_t size = text.size(); size > 0; --size) {
    for (const std::string& stop : stops) {
      if (stop.compare(0, size, text, text.size() - size, size) == 0 && size < stop.size()) return size;
    }
  }
  return 0;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(text_stop_strings)

BOOST_AUTO_TEST_CASE(AgreesWithSearchingTheWholeText) {
  inlay::Pcg32 random(1);
  int stopped = 0;
  for (int round = 0; round < 4000; ++round) {
    const auto word = [&](std::size_t least, std::size_t most) {
      std::string text(least + random.Next() % (most - least + 1), 'a');
      for (char& c : text) c = static_cast<char>('a' + random.Next() % 2);
      return text;
    };
    std::vector<std::string> stops(random.Next() % 4);
    for (std::string& stop : stops) stop = word(1, 8);
    const std::string text = word(0, 40);
    const Outcome expected = Oracle(text, stops);

    Owned matcher(stops, 6);
    Outcome outcome;
    for (std::size_t at = 0; at < text.size() && outcome.stop == StopResult::kNone;) {
      const std::size_t size = std::min<std::size_t>(random.Next() % 7, text.size() - at);
      const auto result = matcher->Feed(std::string_view(text).substr(at, size));
      BOOST_REQUIRE(result);
      outcome.text += result->text;
      outcome.stop = result->stop;
      at += size;
      // No more is held back than must be.
      if (!result->stopped()) BOOST_TEST(outcome.text.size() == at - Held(text.substr(0, at), stops));
    }
    if (outcome.stop == StopResult::kNone) outcome.text += matcher->Flush();
    BOOST_TEST((outcome == expected), "stops in " << text);
    stopped += outcome.stop != StopResult::kNone ? 1 : 0;
  }
  BOOST_TEST(stopped > 1000);
  BOOST_TEST(stopped < 3000);
}

// Every stop string of two letters up to a length, in a text that often almost matches.
BOOST_AUTO_TEST_CASE(EveryShortStopString) {
  inlay::Pcg32 random(2);
  for (std::size_t size = 1; size <= 11; ++size) {
    for (unsigned letters = 0; letters < 1u << size; ++letters) {
      std::string stop;
      for (std::size_t i = 0; i < size; ++i) stop += (letters >> i & 1) != 0 ? 'b' : 'a';
      std::string text;
      for (int i = 0; i < 6; ++i) text += stop.substr(0, random.Next() % size);
      text += stop;
      Owned matcher({stop}, text.size());
      const auto result = matcher->Feed(text);
      BOOST_REQUIRE(result);
      BOOST_REQUIRE_EQUAL(result->text, text.substr(0, text.find(stop)));
      BOOST_REQUIRE_EQUAL(result->stop, 0u);
    }
  }
}

BOOST_AUTO_TEST_CASE(StopsAcrossPieces) {
  Owned matcher({"</s>", "\n\nUser:"}, 16);
  BOOST_TEST(matcher->Feed("Hello<")->text == "Hello");
  BOOST_TEST(matcher->Feed("/b>\n")->text == "</b>");
  BOOST_TEST(matcher->Feed("\n\nUs")->text == "\n");
  const auto stop = *matcher->Feed("er: hi");
  BOOST_TEST(stop.text == "");
  BOOST_TEST(stop.stop == 1u);
  // Nothing more is taken, and nothing is left over.
  BOOST_TEST(matcher->Feed("more")->text == "");
  BOOST_TEST(matcher->Feed("more")->stop == 1u);
  BOOST_TEST(matcher->Flush() == "");
  // After Flush it is as new.
  BOOST_TEST(matcher->Feed("more<")->text == "more");
  BOOST_TEST(matcher->Flush() == "<");
  BOOST_TEST(matcher->Feed("/s>")->text == "/s>");
}

BOOST_AUTO_TEST_CASE(WithoutStopsEverythingPasses) {
  Owned matcher({}, 4);
  BOOST_TEST(matcher->Feed("abcd")->text == "abcd");
  BOOST_TEST(matcher->Flush() == "");
}

BOOST_AUTO_TEST_CASE(LongPiecesAreRefusedAndNothingChanges) {
  Owned matcher({"xyz"}, 4);
  BOOST_TEST(matcher->Feed("abxy")->text == "ab");
  const auto result = matcher->Feed("z12345678");
  BOOST_REQUIRE(!result);
  BOOST_TEST((result.error().code == inlay::ErrorCode::kTooLarge));
  BOOST_TEST(matcher->Feed("z")->stop == 0u);
}

BOOST_AUTO_TEST_CASE(BadStopStrings) {
  alignas(64) std::byte memory[1024];
  auto arena = *inlay::Arena::Create(memory);
  const std::string_view empty[] = {"a", ""};
  BOOST_TEST((StopMatcher::Create(empty, 4, arena).error().code == inlay::ErrorCode::kInvalidArgument));
  auto none = *inlay::Arena::Create(std::span(memory).first(64));
  const std::string_view one[] = {"abc"};
  BOOST_TEST((StopMatcher::Create(one, 4, none).error().code == inlay::ErrorCode::kOutOfMemory));
}

// A stop string that keeps almost matching costs no more than another.
BOOST_AUTO_TEST_CASE(LongStopStringsStayLinear) {
  const std::string stop = std::string(100000, 'a') + "b";
  Owned matcher({stop}, 1000);
  const std::string piece(1000, 'a');
  std::size_t shown = 0;
  const inlay_test::AllocationScope scope;
  for (int i = 0; i < 2000; ++i) shown += matcher->Feed(piece)->text.size();
  const auto counts = scope.counts();
  BOOST_TEST(counts.allocations == 0u);
  BOOST_TEST(shown == 1900000u);
  BOOST_TEST(matcher->Feed("b")->stop == 0u);
}

BOOST_AUTO_TEST_SUITE_END()
