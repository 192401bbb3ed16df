// Finds stop strings in a stream of text, wherever the borders of tokens fall in them.
#ifndef INLAY_TEXT_STOP_STRINGS_HPP_
#define INLAY_TEXT_STOP_STRINGS_HPP_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string_view>

#include "inlay/core/arena.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/core/result.hpp"

INLAY_BEGIN_NAMESPACE

// What StopMatcher::Feed found.
struct StopResult {
  static constexpr std::size_t kNone = ~std::size_t{0};

  std::string_view text;     // may be shown: no stop string can begin in it any more
  std::size_t stop = kNone;  // which stop string was found; the text ends before it

  bool stopped() const { return stop != kNone; }
};

// Passes text on and holds back bytes that may begin a stop string until it is clear whether they do. The stop string
// that is complete first counts; of several that end at the same byte, the longest. How the text is cut into pieces
// does not change the outcome. Time: linear in text times number of stop strings (Knuth, Morris and Pratt, 1977).
class StopMatcher {
 public:
  // The arena bytes that Create takes.
  static constexpr std::size_t MemoryBytes(std::span<const std::string_view> stops, std::size_t max_chunk) {
    const Sizes sizes = SizesOf(stops);
    return ArenaBytes<Stop>(stops.size()) + ArenaBytes<char>(sizes.total) + ArenaBytes<std::uint32_t>(sizes.total) +
           ArenaBytes<char>(sizes.longest + max_chunk);
  }

  // The stop strings are copied. `max_chunk`: the longest piece of text that Feed is given at once (for a Detokenizer:
  // max_piece_bytes() + 3). No stop strings at all is fine: then nothing is ever held back.
  // kInvalidArgument: an empty stop string. kTooLarge: stop strings of 4 GiB. kOutOfMemory.
  static Result<StopMatcher> Create(std::span<const std::string_view> stops, std::size_t max_chunk, Arena& arena) {
    const Sizes sizes = SizesOf(stops);
    if (sizes.total > std::numeric_limits<std::uint32_t>::max()) {
      return Fail(ErrorCode::kTooLarge, "stop strings", "have ", sizes.total, " bytes together");
    }
    StopMatcher matcher;
    INLAY_ASSIGN_OR_RETURN(matcher.stops_, arena.Allocate<Stop>(stops.size(), "stop strings"));
    INLAY_ASSIGN_OR_RETURN(const std::span<char> texts, arena.Allocate<char>(sizes.total, "stop strings"));
    INLAY_ASSIGN_OR_RETURN(const std::span<std::uint32_t> borders,
                           arena.Allocate<std::uint32_t>(sizes.total, "stop strings"));
    INLAY_ASSIGN_OR_RETURN(matcher.buffer_, arena.Allocate<char>(sizes.longest + max_chunk, "stop strings"));
    std::size_t used = 0;
    for (std::size_t i = 0; i < stops.size(); ++i) {
      if (stops[i].empty()) return Fail(ErrorCode::kInvalidArgument, "stop strings", "stop string ", i, " is empty");
      stops[i].copy(texts.data() + used, stops[i].size());
      matcher.stops_[i] = {{texts.data() + used, stops[i].size()}, borders.subspan(used, stops[i].size()), 0};
      ComputeBorders(matcher.stops_[i]);
      used += stops[i].size();
    }
    return matcher;
  }

  // Takes the next piece of text; returns what may be shown now. The text is valid until the next call. After a stop
  // nothing more is taken until Reset: the result is that stop again, with no text. kTooLarge: more than max_chunk
  // bytes at once; nothing changes then.
  Result<StopResult> Feed(std::string_view text) {
    std::memmove(buffer_.data(), buffer_.data() + returned_, held_);
    returned_ = 0;
    if (stop_ != StopResult::kNone) return StopResult{{}, stop_};
    if (text.size() > buffer_.size() - held_) {
      return Fail(ErrorCode::kTooLarge, "text", text.size(), " bytes at once; the stop strings were set up for ",
                  buffer_.size() - held_);
    }
    const std::size_t begin = held_;
    text.copy(buffer_.data() + begin, text.size());
    for (std::size_t i = 0; i < text.size(); ++i) {
      const std::size_t found = Step(text[i]);
      if (found == StopResult::kNone) continue;
      stop_ = found;
      held_ = 0;
      return StopResult{{buffer_.data(), begin + i + 1 - stops_[found].text.size()}, found};
    }
    held_ = 0;
    for (const Stop& stop : stops_) held_ = std::max<std::size_t>(held_, stop.matched);
    returned_ = begin + text.size() - held_;
    return StopResult{{buffer_.data(), returned_}};
  }

  // What is held back, at the end of the text: it was no stop string. Starts anew. Valid until the next call.
  std::string_view Flush() {
    const std::string_view rest(buffer_.data() + returned_, held_);
    Reset();
    return rest;
  }

  // Forgets everything that was fed.
  void Reset() {
    for (Stop& stop : stops_) stop.matched = 0;
    held_ = 0;
    returned_ = 0;
    stop_ = StopResult::kNone;
  }

 private:
  struct Stop {
    std::string_view text;
    std::span<std::uint32_t> borders;  // [i]: the longest proper beginning of the text that text[0..i] ends in
    std::uint32_t matched;             // bytes of the text that the stream ends in
  };
  struct Sizes {
    std::size_t total = 0;
    std::size_t longest = 0;
  };

  StopMatcher() = default;

  static constexpr Sizes SizesOf(std::span<const std::string_view> stops) {
    Sizes sizes;
    for (const std::string_view stop : stops) {
      sizes.total += stop.size();
      sizes.longest = std::max(sizes.longest, stop.size());
    }
    return sizes;
  }

  static void ComputeBorders(Stop& stop) {
    std::uint32_t border = 0;
    stop.borders[0] = 0;
    for (std::size_t i = 1; i < stop.text.size(); ++i) {
      while (border != 0 && stop.text[i] != stop.text[border]) border = stop.borders[border - 1];
      if (stop.text[i] == stop.text[border]) ++border;
      stop.borders[i] = border;
    }
  }

  // The longest stop string that `byte` completes.
  std::size_t Step(char byte) {
    std::size_t found = StopResult::kNone;
    for (std::size_t i = 0; i < stops_.size(); ++i) {
      Stop& stop = stops_[i];
      while (stop.matched != 0 && stop.text[stop.matched] != byte) stop.matched = stop.borders[stop.matched - 1];
      if (stop.text[stop.matched] == byte) ++stop.matched;
      if (stop.matched != stop.text.size()) continue;
      if (found == StopResult::kNone || stop.text.size() > stops_[found].text.size()) found = i;
    }
    return found;
  }

  std::span<Stop> stops_;
  std::span<char> buffer_;  // [what was returned | what is held back | room]
  std::size_t returned_ = 0;
  std::size_t held_ = 0;
  std::size_t stop_ = StopResult::kNone;
};

INLAY_END_NAMESPACE

#endif  // INLAY_TEXT_STOP_STRINGS_HPP_
