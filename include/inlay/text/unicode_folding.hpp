// Letters without their case and accents, for the vocabularies that know only those.
#ifndef INLAY_TEXT_UNICODE_FOLDING_HPP_
#define INLAY_TEXT_UNICODE_FOLDING_HPP_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>

#include "inlay/core/macros.hpp"
#include "inlay/text/unicode_folding_tables.hpp"

INLAY_BEGIN_NAMESPACE

namespace detail {

// The last run that starts at or before `code_point`; -1 when there is none. Runs have their start in the upper bits.
template <std::size_t kCount>
constexpr std::ptrdiff_t FindRun(const std::uint32_t (&runs)[kCount], char32_t code_point) {
  const std::uint32_t* const after = std::upper_bound(std::begin(runs), std::end(runs), code_point << 11 | 0x7FFu);
  return after - std::begin(runs) - 1;
}

}  // namespace detail

// The lower case of one code point by Unicode's simple mapping; itself where there is none.
constexpr char32_t ToLower(char32_t code_point) {
  if (code_point < 128) return code_point >= 'A' && code_point <= 'Z' ? code_point + ('a' - 'A') : code_point;
  const std::ptrdiff_t run = detail::FindRun(detail::kLowerFirst, code_point);
  if (run < 0) return code_point;
  const std::uint32_t packed = detail::kLowerFirst[run];
  const std::uint32_t distance = code_point - (packed >> 11);
  const std::uint32_t step = packed & 3;
  const std::uint32_t count = packed >> 2 & 0x1FF;
  if (distance % step != 0 || distance / step >= count) return code_point;
  return static_cast<char32_t>(static_cast<std::int32_t>(code_point) + detail::kLowerShift[run]);
}

// The first code point of the canonical decomposition: the letter without its accents; itself where there is none.
constexpr char32_t BaseCharacter(char32_t code_point) {
  if (code_point < 0xC0) return code_point;
  const std::ptrdiff_t run = detail::FindRun(detail::kBaseFirst, code_point);
  if (run < 0) return code_point;
  const std::uint32_t packed = detail::kBaseFirst[run];
  return code_point - (packed >> 11) <= (packed & 0x7FF) ? detail::kBase[run] : code_point;
}

INLAY_END_NAMESPACE

#endif  // INLAY_TEXT_UNICODE_FOLDING_HPP_
