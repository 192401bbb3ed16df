// Cuts a text into pieces that are short enough to be about one thing.
#ifndef INLAY_EXAMPLES_SEARCH_CHUNKS_HPP_
#define INLAY_EXAMPLES_SEARCH_CHUNKS_HPP_

#include <algorithm>
#include <cstddef>
#include <string_view>
#include <vector>

namespace search {

struct ChunkOptions {
  std::size_t size = 800;     // most bytes of a piece
  std::size_t overlap = 100;  // about as many bytes of a piece are in the next one too, so that no sentence is only cut in two
};

namespace detail {

inline bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

// The best place to cut in text[low, high): behind a paragraph, else behind a sentence, else behind a word; and where there
// are none, before a character.
inline std::size_t CutAt(std::string_view text, std::size_t low, std::size_t high) {
  for (const std::string_view end : {std::string_view("\n\n"), std::string_view(". "), std::string_view("\n"), std::string_view(" ")}) {
    const std::size_t found = text.substr(0, high).rfind(end);
    if (found != std::string_view::npos && found + end.size() > low) return found + end.size();
  }
  std::size_t cut = high;
  while (cut > low + 1 && (static_cast<unsigned char>(text[cut]) & 0xC0) == 0x80) --cut;
  return cut;
}

}  // namespace detail

// The pieces of a text, in order, without the space around them; views of the text. Together they hold every word of it.
inline std::vector<std::string_view> Chunks(std::string_view text, const ChunkOptions& options) {
  std::vector<std::string_view> pieces;
  std::size_t begin = 0;
  while (begin < text.size()) {
    const bool last = text.size() - begin <= options.size;
    const std::size_t end = last ? text.size() : detail::CutAt(text, begin + options.size / 2, begin + options.size);
    std::size_t first = begin, after = end;
    while (first < after && detail::IsSpace(text[first])) ++first;
    while (after > first && detail::IsSpace(text[after - 1])) --after;
    if (first < after) pieces.push_back(text.substr(first, after - first));
    if (last) break;
    // Back by the overlap, to the start of a word; never so far that nothing is gained.
    std::size_t next = end - std::min(options.overlap, (end - begin) / 2);
    while (next < end && !detail::IsSpace(text[next])) ++next;
    begin = next;
  }
  return pieces;
}

}  // namespace search

#endif  // INLAY_EXAMPLES_SEARCH_CHUNKS_HPP_
