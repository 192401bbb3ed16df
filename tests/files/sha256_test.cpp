#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "inlay/files/sha256.hpp"

namespace {

std::string Hex(const inlay::Sha256Digest& digest) {
  std::string text;
  for (const std::byte b : digest) {
    text += "0123456789abcdef"[static_cast<int>(b) >> 4];
    text += "0123456789abcdef"[static_cast<int>(b) & 15];
  }
  return text;
}

std::string HashOf(std::string_view text) { return Hex(inlay::Sha256::Of(std::as_bytes(std::span(text)))); }

}  // namespace

BOOST_AUTO_TEST_SUITE(files_sha256)

// FIPS 180-4's examples, and NIST's long message.
BOOST_AUTO_TEST_CASE(StandardVectors) {
  BOOST_TEST(HashOf("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  BOOST_TEST(HashOf("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  BOOST_TEST(HashOf("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") ==
             "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  BOOST_TEST(
      HashOf("abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrst"
             "nopqrstu") == "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1");
  BOOST_TEST(HashOf(std::string(1000000, 'a')) == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

// Around the places where padding takes another block: digests from Python's hashlib, of bytes 0, 1, 2, ...
BOOST_AUTO_TEST_CASE(LengthsAroundABlock) {
  const auto count_up = [](std::size_t size) {
    std::string text;
    for (std::size_t i = 0; i < size; ++i) text += static_cast<char>(i);
    return HashOf(text);
  };
  BOOST_TEST(count_up(55) == "463eb28e72f82e0a96c0a4cc53690c571281131f672aa229e0d45ae59b598b59");
  BOOST_TEST(count_up(56) == "da2ae4d6b36748f2a318f23e7ab1dfdf45acdc9d049bd80e59de82a60895f562");
  BOOST_TEST(count_up(57) == "2fe741af801cc238602ac0ec6a7b0c3a8a87c7fc7d7f02a3fe03d1c12eac4d8f");
  BOOST_TEST(count_up(63) == "29af2686fd53374a36b0846694cc342177e428d1647515f078784d69cdb9e488");
  BOOST_TEST(count_up(64) == "fdeab9acf3710362bd2658cdc9a29e8f9c757fcf9811603a8c447cd1d9151108");
  BOOST_TEST(count_up(65) == "4bfd2c8b6f1eec7a2afeb48b934ee4b2694182027e6d0fc075074f2fabb31781");
  BOOST_TEST(count_up(119) == "da18797ed7c3a777f0847f429724a2d8cd5138e6ed2895c3fa1a6d39d18f7ec6");
  BOOST_TEST(count_up(120) == "f52b23db1fbb6ded89ef42a23ce0c8922c45f25c50b568a93bf1c075420bbb7c");
  BOOST_TEST(count_up(128) == "471fb943aa23c511f6f72f8d1652d9c880cfa392ad80503120547703e56a2be5");
}

BOOST_AUTO_TEST_CASE(PiecesMakeNoDifference) {
  std::vector<std::byte> bytes(1000);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 31);
  const inlay::Sha256Digest whole = inlay::Sha256::Of(bytes);
  for (const std::size_t piece : {1u, 3u, 63u, 64u, 65u, 127u, 128u, 999u}) {
    inlay::Sha256 hash;
    for (std::size_t at = 0; at < bytes.size(); at += piece) {
      hash.Update(std::span(bytes).subspan(at, std::min(piece, bytes.size() - at)));
      hash.Update({});
    }
    const inlay::Sha256 copy = hash;
    BOOST_TEST((hash.Finish() == whole));
    BOOST_TEST((inlay::Sha256(copy).Finish() == whole));
  }
}

BOOST_AUTO_TEST_SUITE_END()
