// SHA-256 over bytes that arrive in pieces: identifies packed weights. Portable integer arithmetic, no heap.
// Source: FIPS 180-4.
#ifndef INLAY_FILES_SHA256_HPP_
#define INLAY_FILES_SHA256_HPP_

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "inlay/core/macros.hpp"

INLAY_BEGIN_NAMESPACE

using Sha256Digest = std::array<std::byte, 32>;

// Update any number of times, then Finish once. A copy continues on its own.
class Sha256 {
 public:
  void Update(std::span<const std::byte> bytes) {
    total_ += bytes.size();
    if (pending_ != 0) {
      const std::size_t room = kBlock - pending_;
      const std::size_t count = bytes.size() < room ? bytes.size() : room;
      if (count != 0) std::memcpy(block_.data() + pending_, bytes.data(), count);
      pending_ += count;
      bytes = bytes.subspan(count);
      if (pending_ < kBlock) return;
      Compress(block_.data(), 1);
      pending_ = 0;
    }
    const std::size_t blocks = bytes.size() / kBlock;
    Compress(bytes.data(), blocks);
    bytes = bytes.subspan(blocks * kBlock);
    if (!bytes.empty()) std::memcpy(block_.data(), bytes.data(), bytes.size());
    pending_ = bytes.size();
  }

  // The digest of everything so far. The object is used up.
  Sha256Digest Finish() {
    const std::uint64_t bits = __builtin_bswap64(total_ * 8);
    block_[pending_++] = std::byte{0x80};
    if (pending_ > kBlock - sizeof(bits)) {
      std::memset(block_.data() + pending_, 0, kBlock - pending_);
      Compress(block_.data(), 1);
      pending_ = 0;
    }
    std::memset(block_.data() + pending_, 0, kBlock - sizeof(bits) - pending_);
    std::memcpy(block_.data() + kBlock - sizeof(bits), &bits, sizeof(bits));
    Compress(block_.data(), 1);
    Sha256Digest digest;
    for (std::size_t i = 0; i < state_.size(); ++i) {
      const std::uint32_t word = __builtin_bswap32(state_[i]);
      std::memcpy(digest.data() + 4 * i, &word, sizeof(word));
    }
    return digest;
  }

  static Sha256Digest Of(std::span<const std::byte> bytes) {
    Sha256 hash;
    hash.Update(bytes);
    return hash.Finish();
  }

 private:
  static constexpr std::size_t kBlock = 64;
  static_assert(std::endian::native == std::endian::little);

  // The first 32 bits of the fractional parts of the cube roots of the first 64 primes.
  static constexpr std::uint32_t kRound[64] = {
      0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
      0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
      0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
      0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
      0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
      0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
      0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
      0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

  void Compress(const std::byte* data, std::size_t blocks) {
    for (; blocks != 0; --blocks, data += kBlock) {
      // The message schedule is a ring of 16 words: word t replaces word t - 16.
      std::uint32_t w[16];
      for (std::size_t t = 0; t < 16; ++t) {
        std::uint32_t word = 0;
        std::memcpy(&word, data + 4 * t, sizeof(word));
        w[t] = __builtin_bswap32(word);
      }
      std::uint32_t a = state_[0], b = state_[1], c = state_[2], d = state_[3];
      std::uint32_t e = state_[4], f = state_[5], g = state_[6], h = state_[7];
      for (std::size_t start = 0; start < 64; start += 16) {
        for (std::size_t i = 0; i < 16; ++i) {
          if (start != 0) {
            const std::uint32_t w15 = w[(i + 1) % 16], w2 = w[(i + 14) % 16];
            w[i] += (std::rotr(w15, 7) ^ std::rotr(w15, 18) ^ (w15 >> 3)) + w[(i + 9) % 16] +
                    (std::rotr(w2, 17) ^ std::rotr(w2, 19) ^ (w2 >> 10));
          }
          const std::uint32_t t1 = h + (std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25)) + (g ^ (e & (f ^ g))) +
                                   kRound[start + i] + w[i];
          const std::uint32_t t2 = (std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22)) + ((a & b) | (c & (a | b)));
          h = g;
          g = f;
          f = e;
          e = d + t1;
          d = c;
          c = b;
          b = a;
          a = t1 + t2;
        }
      }
      state_[0] += a;
      state_[1] += b;
      state_[2] += c;
      state_[3] += d;
      state_[4] += e;
      state_[5] += f;
      state_[6] += g;
      state_[7] += h;
    }
  }

  // The first 32 bits of the fractional parts of the square roots of the first 8 primes.
  std::array<std::uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                         0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<std::byte, kBlock> block_;
  std::size_t pending_ = 0;
  std::uint64_t total_ = 0;
};

INLAY_END_NAMESPACE

#endif  // INLAY_FILES_SHA256_HPP_
