// Remembers the words of a text while it is tokenised: text repeats itself, and copying the tokens of a word that came
// before is faster than joining its bytes again (whole texts by a factor of 1.0 to 2.5, docs/performance.md).
#ifndef INLAY_TEXT_WORD_CACHE_HPP_
#define INLAY_TEXT_WORD_CACHE_HPP_

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string_view>

#include "inlay/core/macros.hpp"
#include "inlay/text/hash.hpp"
#include "inlay/text/token_writer.hpp"

INLAY_BEGIN_NAMESPACE

// The scratch memory of one call of an encoder, with the cache in its end. A word's tokens are never stored twice: the
// cache holds where in the text it stands and where among the tokens they do. Small texts have no cache.
class WordCache {
 public:
  // `text`: all of it; the words lie in it.
  WordCache(std::string_view text, std::span<std::byte> scratch) : text_(text), scratch_(scratch), rest_(scratch) {
    if (text.size() < kLeastText || text.size() > std::numeric_limits<std::uint32_t>::max()) return;
    const std::size_t count = std::min(kMostEntries, std::bit_floor(text.size() / kTextPerEntry));
    const std::size_t bytes = count * sizeof(Entry) + alignof(Entry);
    if (bytes > scratch.size() / kShare) return;
    rest_ = scratch.first(scratch.size() - bytes);
    void* memory = scratch.data() + rest_.size();
    std::size_t room = bytes;
    entries_ = {static_cast<Entry*>(std::align(alignof(Entry), count * sizeof(Entry), memory, room)), count};
    std::fill(entries_.begin(), entries_.end(), Entry{});
  }

  // Appends the tokens of a word that came before. False when it did not; then its tokens can be kept with Keep.
  bool Repeat(std::string_view word, TokenWriter& out) {
    if (entries_.empty() || word.size() > kLongestWord) return false;
    hash_ = detail::HashText(word);
    const Entry& entry = entries_[hash_ & (entries_.size() - 1)];
    if (entry.hash != hash_ || entry.size != word.size() || text_.substr(entry.start, entry.size) != word) return false;
    out.Repeat(entry.first, entry.count);
    return true;
  }

  // After Repeat said that `word` is new, and its tokens were appended: they are those from `first` on.
  void Keep(std::string_view word, std::size_t first, const TokenWriter& out) {
    if (entries_.empty() || word.size() > kLongestWord || out.overflowed()) return;
    const std::size_t count = out.count() - first;
    if (count == 0 || count > kLongestWord || first > std::numeric_limits<std::uint32_t>::max()) return;
    entries_[hash_ & (entries_.size() - 1)] = {
        static_cast<std::uint32_t>(word.data() - text_.data()), static_cast<std::uint32_t>(first), hash_,
        static_cast<std::uint16_t>(word.size()), static_cast<std::uint16_t>(count)};
  }

  // At least `needed` bytes of scratch, giving up the cache where they would not fit beside it; all there is when there
  // is less.
  std::span<std::byte> Memory(std::size_t needed) {
    if (needed > rest_.size()) {
      entries_ = {};
      rest_ = scratch_;
    }
    return rest_;
  }

 private:
  struct Entry {
    std::uint32_t start = 0;  // of the word
    std::uint32_t first = 0;  // of its tokens
    std::uint32_t hash = 0;
    std::uint16_t size = 0;  // 0: no word
    std::uint16_t count = 0;
  };
  static constexpr std::size_t kMostEntries = 8192;  // 128 KiB, half a level-2 cache
  static constexpr std::size_t kLeastText = 256;
  static constexpr std::size_t kTextPerEntry = 16;
  static constexpr std::size_t kShare = 4;  // of the scratch memory, at most
  static constexpr std::size_t kLongestWord = 64;

  std::string_view text_;
  std::span<std::byte> scratch_;
  std::span<std::byte> rest_;
  std::span<Entry> entries_;  // a power of two
  std::uint32_t hash_ = 0;
};

// What an encoder is given: a stretch of a text that has no special tokens in it.
struct EncodeTask {
  std::string_view text;  // the stretch
  std::size_t offset;     // where it starts in the whole text, for errors
  bool space_prefix;      // as if it began with one more space
  WordCache& cache;
  TokenWriter& out;
};

INLAY_END_NAMESPACE

#endif  // INLAY_TEXT_WORD_CACHE_HPP_
