// The parts of examples/search that need no model: cutting text, and the index on disk.
#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <cstddef>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "examples/search/chunks.hpp"
#include "examples/search/index_file.hpp"

namespace {

using inlay::ErrorCode;
using search::ChunkOptions;
using search::Chunks;

search::Index SmallIndex() {
  search::Index index;
  index.dim = 3;
  index.entries.push_back({"a.txt", 0, "one", {1.0f, 0.0f, 0.0f}});
  index.entries.push_back({"b/c.txt", 1ull << 40, "", {0.0f, -0.6f, 0.8f}});
  return index;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(examples_search)

BOOST_AUTO_TEST_CASE(ShortTextsAreOnePiece) {
  BOOST_TEST(Chunks("", {}).empty());
  BOOST_TEST(Chunks(" \n\t ", {}).empty());
  const auto one = Chunks("  a few words\n", {});
  BOOST_REQUIRE(one.size() == 1u);
  BOOST_TEST(one[0] == "a few words");
}

// Every word is in some piece whole, pieces are no longer than asked for, in order, and overlap.
BOOST_AUTO_TEST_CASE(PiecesHoldEveryWord) {
  std::string text;
  for (int i = 0; i < 400; ++i) {
    text += "word" + std::to_string(i) + (i % 11 == 10 ? ".\n\n" : i % 5 == 4 ? ". " : " ");
  }
  for (const ChunkOptions options : {ChunkOptions{100, 20}, ChunkOptions{60, 0}, ChunkOptions{31, 30}, ChunkOptions{800, 100}}) {
    const auto pieces = Chunks(text, options);
    BOOST_TEST(pieces.size() >= text.size() / options.size);
    std::size_t overlapping = 0;
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      BOOST_TEST((!pieces[i].empty() && pieces[i].size() <= options.size));
      if (i == 0) continue;
      BOOST_TEST((pieces[i].data() > pieces[i - 1].data() && pieces[i].data() + pieces[i].size() > pieces[i - 1].data() + pieces[i - 1].size()));
      overlapping += pieces[i].data() < pieces[i - 1].data() + pieces[i - 1].size() ? 1 : 0;
    }
    BOOST_TEST((overlapping > 0) == (options.overlap > 0));
    for (int i = 0; i < 400; ++i) {
      const std::string word = "word" + std::to_string(i);
      bool found = false;
      for (const std::string_view piece : pieces) {
        const std::size_t at = (" " + std::string(piece) + " ").find(" " + word);
        found = found || at != std::string::npos || piece.find("\n" + word) != std::string_view::npos;
      }
      BOOST_REQUIRE_MESSAGE(found, word << " with pieces of " << options.size);
    }
  }
}

BOOST_AUTO_TEST_CASE(CutsAtParagraphsAndNeverInsideACharacter) {
  const auto pieces = Chunks("First sentence. Second one.\n\nAnother paragraph that is long enough to need a cut.", {56, 0});
  BOOST_REQUIRE(pieces.size() == 2u);
  BOOST_TEST(pieces[0] == "First sentence. Second one.");
  // No space anywhere: characters of three bytes, pieces of a size that is no multiple of three.
  std::string water;
  for (int i = 0; i < 100; ++i) water += "\xE6\xB0\xB4";
  std::size_t total = 0;
  for (const std::string_view piece : Chunks(water, {50, 0})) {
    BOOST_TEST(piece.size() % 3 == 0u);
    total += piece.size();
  }
  BOOST_TEST(total == water.size());
  // Progress where there is nothing to cut at, and whatever the overlap.
  BOOST_TEST(Chunks(std::string(10000, 'a'), {10, 100}).size() >= 1000u);
}

BOOST_AUTO_TEST_CASE(IndexComesBack) {
  const search::Index index = SmallIndex();
  const auto read = search::ReadIndex(search::WriteIndex(index));
  BOOST_REQUIRE_MESSAGE(read.has_value(), (read ? "" : read.error().Message().c_str()));
  BOOST_TEST(read->dim == 3u);
  BOOST_REQUIRE(read->entries.size() == 2u);
  for (std::size_t i = 0; i < 2; ++i) {
    BOOST_TEST(read->entries[i].path == index.entries[i].path);
    BOOST_TEST(read->entries[i].text == index.entries[i].text);
    BOOST_TEST(read->entries[i].offset == index.entries[i].offset);
    BOOST_TEST(read->entries[i].embedding == index.entries[i].embedding, boost::test_tools::per_element());
  }
}

BOOST_AUTO_TEST_CASE(BrokenIndexesAreRefused) {
  const std::vector<std::byte> whole = search::WriteIndex(SmallIndex());
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const auto read = search::ReadIndex(std::span(whole).first(size));
    BOOST_REQUIRE(!read.has_value() && !read.error().field.empty());
  }
  std::vector<std::byte> longer = whole;
  longer.push_back(std::byte{0});
  BOOST_TEST(!search::ReadIndex(longer).has_value());
  std::size_t refused = 0;
  std::vector<std::byte> flipped = whole;
  for (std::size_t bit = 0; bit < 8 * flipped.size(); ++bit) {
    const std::byte mask{static_cast<unsigned char>(1u << bit % 8)};
    flipped[bit / 8] ^= mask;
    const auto read = search::ReadIndex(flipped);
    refused += read ? 0 : 1;
    if (!read) BOOST_REQUIRE(!read.error().field.empty());
    flipped[bit / 8] ^= mask;
  }
  BOOST_TEST(refused > 8u * 30u);  // the header and every length
  search::Index index = SmallIndex();
  index.entries[1].embedding[2] = std::numeric_limits<float>::infinity();
  BOOST_TEST((search::ReadIndex(search::WriteIndex(index)).error().code == ErrorCode::kNonFinite));
  index = SmallIndex();
  index.dim = 0;
  BOOST_TEST((search::ReadIndex(search::WriteIndex(index)).error().field.view() == "dimensions"));
}

BOOST_AUTO_TEST_SUITE_END()
