// SentencePiece's table of replacements ("tokenizer.ggml.precompiled_charsmap"): how text is normalised before a unigram
// model sees it. Source: sentencepiece's normalizer and darts-clone's double array, in which the table is stored.
#ifndef INLAY_TEXT_CHARACTER_MAP_HPP_
#define INLAY_TEXT_CHARACTER_MAP_HPP_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "inlay/core/macros.hpp"
#include "inlay/core/result.hpp"
#include "inlay/files/gguf.hpp"
#include "inlay/text/utf8.hpp"

INLAY_BEGIN_NAMESPACE

// A view of the table, which must outlive it. Every key that a text can reach was looked at when it was opened.
class CharacterMap {
 public:
  static constexpr std::string_view kKey = "tokenizer.ggml.precompiled_charsmap";

  CharacterMap() = default;  // replaces nothing

  // `blob`: the bytes of the double array as a little-endian 32-bit number, the array, then replacements that end in
  // NUL. `offset`: of the blob in its file. kMismatch: an element type that is not a byte. kTruncated, kBadFile: sizes,
  // links or replacements that lead outside, a circle, keys of more than 64 bytes. kTooLarge: a replacement of more
  // than 255 bytes.
  static Result<CharacterMap> Open(const GgufArray& blob) {
    if (blob.element != GgufType::kU8 && blob.element != GgufType::kI8) {
      return FailAt(ErrorCode::kMismatch, blob.offset, kKey, "must be an array of bytes");
    }
    CharacterMap map;
    const std::span<const std::byte> bytes = blob.bytes;
    if (bytes.empty()) return map;
    if (bytes.size() < 4) return FailAt(ErrorCode::kTruncated, blob.offset, kKey, "has ", bytes.size(), " bytes");
    const std::size_t units = detail::LoadAs<std::uint32_t>(bytes.data());
    if (units == 0 || units % 4 != 0 || units >= bytes.size() - 4) {
      return FailAt(ErrorCode::kBadFile, blob.offset, kKey, "has ", bytes.size(), " bytes and says that ", units,
                    " of them are its index");
    }
    map.units_ = bytes.subspan(4, units);
    map.replacements_ = {reinterpret_cast<const char*>(bytes.data()) + 4 + units, bytes.size() - 4 - units};
    INLAY_CHECK_OK(map.CheckKeys(blob.offset));
    return map;
  }

  struct Match {
    std::size_t size = 0;  // bytes of the text that are replaced; 0: none
    std::string_view replacement;
  };

  // The longest key that `text` begins with.
  Match Find(std::string_view text) const {
    Match match;
    if (units_.empty()) return match;
    std::uint32_t node = Base(Unit(0));
    for (std::size_t at = 0; at < text.size(); ++at) {
      const std::uint8_t byte = static_cast<std::uint8_t>(text[at]);
      if (byte == 0) break;
      node ^= byte;
      if (node >= count()) break;
      const std::uint32_t unit = Unit(node);
      if (Label(unit) != byte) break;
      node ^= Base(unit);
      if (IsLeaf(unit)) match = {at + 1, ReplacementAt(Unit(node) & kValue)};
    }
    return match;
  }

  // The most bytes and characters that a byte of text can become (rounded up), with three bytes for a space.
  std::size_t most_bytes() const { return most_bytes_; }
  std::size_t most_characters() const { return most_characters_; }
  // True when some key has a space in it.
  bool has_spaces() const { return has_spaces_; }

 private:
  static constexpr std::uint32_t kValue = 0x7FFFFFFF;
  static constexpr std::size_t kMostKeyBytes = 64;
  static constexpr std::size_t kMostReplacementBytes = 255;
  static constexpr std::uint64_t kMostSharing = 16;

  std::uint32_t count() const { return static_cast<std::uint32_t>(units_.size() / 4); }
  std::uint32_t Unit(std::uint32_t i) const {
    return detail::LoadAs<std::uint32_t>(units_.data() + 4 * std::size_t{i});
  }
  static std::uint32_t Base(std::uint32_t unit) { return (unit >> 10) << ((unit & 0x200u) >> 6); }
  // A unit that holds a value has its highest bit set, and is the child of no byte.
  static std::uint32_t Label(std::uint32_t unit) { return unit & 0x800000FFu; }
  static bool IsLeaf(std::uint32_t unit) { return (unit & 0x100u) != 0; }
  std::string_view ReplacementAt(std::uint32_t at) const {
    const std::string_view rest = replacements_.substr(at);
    return rest.substr(0, rest.find('\0'));
  }

  // Visits every key, depth first.
  Result<void> CheckKeys(std::uint64_t offset) {
    struct Level {
      std::uint32_t base;
      std::uint32_t next_byte;
      bool space;
    };
    std::array<Level, kMostKeyBytes + 1> levels;
    std::size_t depth = 0;
    std::uint64_t visited = 0;
    levels[0] = {Base(Unit(0)), 1, false};
    for (;;) {
      Level& level = levels[depth];
      if (level.next_byte == 256) {
        if (depth == 0) return {};
        --depth;
        continue;
      }
      const std::uint32_t byte = level.next_byte++;
      const std::uint32_t node = level.base ^ byte;
      if (node >= count() || Label(Unit(node)) != byte) continue;
      // Keys may share their ends, so a unit may be met several times; but not for ever.
      if (++visited / kMostSharing > count()) {
        return FailAt(ErrorCode::kBadFile, offset, kKey, "its index goes round in circles");
      }
      if (depth == kMostKeyBytes) {
        return FailAt(ErrorCode::kBadFile, offset, kKey, "has a key of more than ", kMostKeyBytes, " bytes");
      }
      const std::uint32_t unit = Unit(node);
      const std::uint32_t base = node ^ Base(unit);
      const bool space = level.space || byte == ' ';
      ++depth;
      levels[depth] = {base, 1, space};
      if (IsLeaf(unit)) INLAY_CHECK_OK(CheckReplacement(base, depth, space, offset));
    }
  }

  Result<void> CheckReplacement(std::uint32_t node, std::size_t key_bytes, bool space, std::uint64_t offset) {
    const std::uint32_t value = node < count() ? Unit(node) & kValue : kValue;
    if (value >= replacements_.size() || replacements_.find('\0', value) == std::string_view::npos) {
      return FailAt(ErrorCode::kBadFile, offset, kKey, "a replacement is at ", value, " of ", replacements_.size(),
                    " bytes, or does not end");
    }
    const std::string_view replacement = ReplacementAt(value);
    if (replacement.size() > kMostReplacementBytes) {
      return FailAt(ErrorCode::kTooLarge, offset, kKey, "a replacement has ", replacement.size(), " bytes; at most ",
                    kMostReplacementBytes, " are allowed");
    }
    std::size_t bytes = replacement.size();
    std::size_t characters = 0;
    for (std::size_t at = 0; at < replacement.size(); at += Utf8SizeByLead(replacement[at])) {
      ++characters;
      if (replacement[at] == ' ') bytes += 2;
    }
    most_bytes_ = std::max(most_bytes_, (bytes + key_bytes - 1) / key_bytes);
    most_characters_ = std::max(most_characters_, (characters + key_bytes - 1) / key_bytes);
    has_spaces_ = has_spaces_ || space;
    return {};
  }

  std::span<const std::byte> units_;  // the double array, four bytes each
  std::string_view replacements_;
  // A space, and U+FFFD for a byte that is not valid.
  std::size_t most_bytes_ = 3;
  std::size_t most_characters_ = 1;
  bool has_spaces_ = false;
};

INLAY_END_NAMESPACE

#endif  // INLAY_TEXT_CHARACTER_MAP_HPP_
