// Taking out the spaces that some models' own tokenisers take out of whole texts ("clean up tokenization spaces"). Apart,
// because it is for comparisons with those: it cannot be undone, and text that a model writes needs nothing of the kind.
#ifndef INLAY_TEXT_CLEAN_SPACES_HPP_
#define INLAY_TEXT_CLEAN_SPACES_HPP_

#include <cstddef>
#include <span>

#include "inlay/core/macros.hpp"

INLAY_BEGIN_NAMESPACE

// In place; returns the new size. Three passes, as llama.cpp's detokenize has them: spaces before ? ! . and , go; then
// those around a lone apostrophe; then those before 's 'm 're and 've. Linear.
inline std::size_t CleanSpaces(std::span<char> text) {
  std::size_t size = text.size();
  if (size == 0) return 0;
  // Copies text[i] to the end of what is kept, over the space before it where `drop(i)`.
  const auto pass = [&](auto drop) {
    std::size_t kept = 1;
    for (std::size_t i = 1; i < size; ++i) {
      const char c = text[i];
      if (text[i - 1] == ' ' && drop(i)) --kept;
      text[kept++] = c;
    }
    size = kept;
  };
  const auto at = [&](std::size_t i) { return i < size ? text[i] : '\0'; };
  pass([&](std::size_t i) { return text[i] == '?' || text[i] == '!' || text[i] == '.' || text[i] == ','; });

  std::size_t kept = 1;
  for (std::size_t i = 1; i < size; ++i) {
    const char c = text[i];
    if (c == '\'' && text[i - 1] == ' ' && at(i + 1) == ' ') {
      --kept;
      text[++i] = '\0';  // and it is no space for what follows
    }
    text[kept++] = c;
  }
  size = kept;

  pass([&](std::size_t i) {
    if (text[i] != '\'') return false;
    const char first = at(i + 1);
    return first == 's' || first == 'm' || ((first == 'r' || first == 'v') && at(i + 2) == 'e');
  });
  return size;
}

INLAY_END_NAMESPACE

#endif  // INLAY_TEXT_CLEAN_SPACES_HPP_
