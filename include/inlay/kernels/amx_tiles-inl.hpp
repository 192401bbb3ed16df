// Intel's tile multiplier (AMX): when it may be used, how its registers are set up, and the loop over rows and tokens that
// all products on it share.
//
// A product of tiles: 16 tokens x 64 bytes of their activations, times 64 bytes of each of 16 rows. It runs beside the vector
// units, with a catch: while tile instructions are about, one of the two 512-bit multipliers rests (Emerald Rapids; half
// the float, int16 and VNNI multiplications per cycle, but not additions, logic and shuffles, until some 150 cycles after
// the last). Kernels have their vector work done by instructions that do not multiply, as far as they can.

#include "inlay/kernels/highway.hpp"

#if defined(INLAY_KERNELS_AMX_TILES_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef INLAY_KERNELS_AMX_TILES_INL_HPP_
#undef INLAY_KERNELS_AMX_TILES_INL_HPP_
#else
#define INLAY_KERNELS_AMX_TILES_INL_HPP_
#endif

// Whether the compiler may use tiles of int8, and of BF16 too.
#undef INLAY_AMX
#undef INLAY_AMX_BF16
#if ((defined(__AMX_INT8__) && defined(__AMX_TILE__)) || (defined(__AMXINT8__) && defined(__AMXTILE__))) && \
    defined(__linux__) && HWY_ARCH_X86_64 && HWY_TARGET <= HWY_AVX3
#define INLAY_AMX 1
#else
#define INLAY_AMX 0
#endif
#if INLAY_AMX && (defined(__AMX_BF16__) || defined(__AMXBF16__))
#define INLAY_AMX_BF16 1
#else
#define INLAY_AMX_BF16 0
#endif

#if INLAY_AMX

#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "inlay/core/checked.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/kernels/output.hpp"
#include "inlay/kernels/packed_layout.hpp"
#include "inlay/kernels/results-inl.hpp"
#include "inlay/kernels/simd-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace inlay {
inline namespace INLAY_ABI_NAMESPACE {
namespace HWY_NAMESPACE {

// Tokens of one tile, and row tiles that are multiplied with it, so that each tile of activations, which comes from the
// second-level cache, serves 32 rows.
inline constexpr std::size_t kAmxTokens = 16;
inline constexpr std::size_t kAmxRowTiles = 2;
inline constexpr std::size_t kAmxRows = kAmxRowTiles * kRowTile;
// Tokens that share one unpacking of the weights, at most. Their float sums wait in a buffer of 32 KiB, and their activations,
// at most about so many, stay in the second-level cache (of 2 MiB) while all rows pass.
inline constexpr std::size_t kAmxBlock = 256;
inline constexpr std::size_t kAmxBlockValues = std::size_t{1} << 20;

// Asks the system for the tile registers; the answer never changes, but asking takes about 0.1 us, which is less than a
// cache that threads share is worth. False: they must not be touched.
inline bool AmxPermitted() {
  constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr long kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

// Tiles 0-3: sums [tokens][16 rows]. 4, 5: activations [tokens][kBytes]. 6, 7: weights [kBytes / 4][16 rows][4].
template <std::size_t kBytes>
HWY_INLINE void ConfigureTiles(std::size_t tokens) {
  struct alignas(64) {
    std::uint8_t palette = 1;
    std::uint8_t start_row = 0;
    std::uint8_t reserved[14] = {};
    std::uint16_t row_bytes[16] = {};
    std::uint8_t rows[16] = {};
  } config;
  for (int tile = 0; tile < 8; ++tile) {
    config.row_bytes[tile] = tile == 4 || tile == 5 ? kBytes : 64;
    config.rows[tile] = static_cast<std::uint8_t>(tile >= 6 ? kBytes / 4 : tokens);
  }
  asm volatile("" : : "r"(&config) : "memory");  // GCC believes that loading a configuration reads its first 8 bytes
  _tile_loadconfig(&config);
}

// Tokens [first, first + tokens) in tiles of 16. The last tile moves back to end with the last token; what it computes
// again is not stored again. Fewer than 16 are one smaller tile.
struct AmxTokenTiles {
  std::size_t first;
  std::size_t tokens;

  std::size_t count() const { return DivideUp(tokens, kAmxTokens); }
  // The first token of a tile, and the first that no tile before has.
  std::size_t begin(std::size_t tile) const {
    return first + std::min(tile * kAmxTokens, tokens < kAmxTokens ? 0 : tokens - kAmxTokens);
  }
  std::size_t fresh(std::size_t tile) const { return first + tile * kAmxTokens; }
  std::size_t end(std::size_t tile) const { return first + std::min((tile + 1) * kAmxTokens, tokens); }
};

// Calls multiply(tiles, packed, next, results, store) until all rows and tokens, of `cols` columns, have been multiplied:
// `tiles` are at most kAmxBlock tokens, `packed` is a row tile and `next` how far the one after it lies. It writes the sums
// of slot i, the i-th token of the tiles, to results[i * kAmxRows ..], and calls store(tile) once those of a tile are
// complete.
template <std::size_t kBytes, class Multiply>
HWY_INLINE void ForAmxBlocks(const std::uint8_t* packed, std::size_t rows, std::size_t tile_bytes, std::size_t cols,
                             std::size_t token_begin, std::size_t token_end, std::size_t row_begin, std::size_t row_end,
                             const Output& out, const Multiply& multiply) {
  alignas(64) float results[kAmxBlock * kAmxRows];
  ConfigureTiles<kBytes>(std::min(kAmxTokens, token_end - token_begin));
  // Blocks of the same size, in tiles of tokens.
  const std::size_t token_tiles = DivideUp(token_end - token_begin, kAmxTokens);
  const std::size_t most_tiles = std::clamp(kAmxBlockValues / (cols * kAmxTokens), std::size_t{4}, kAmxBlock / kAmxTokens);
  const std::size_t block = DivideUp(token_tiles, DivideUp(token_tiles, most_tiles)) * kAmxTokens;
  for (std::size_t token = token_begin; token < token_end; token += block) {
    // A last block of fewer than 16 tokens begins with some of the block before.
    const std::size_t most = std::min(block, token_end - token);
    const std::size_t back = most < kAmxTokens && token != token_begin ? kAmxTokens - most : 0;
    const AmxTokenTiles tiles{token - back, most + back};
    for (std::size_t row = row_begin; row < row_end; row += kAmxRows) {
      const std::size_t row_stop = std::min(row_end, row + kAmxRows);
      // Where the last row tile has no neighbour, it is its own: the second half of the results is not stored.
      const std::size_t next = row + kRowTile < rows ? tile_bytes : 0;
      const auto store = [&](std::size_t tile) HWY_ATTR {
        const std::size_t fresh = std::max(tiles.fresh(tile), token);
        const float* from = results + (tile * kAmxTokens + fresh - tiles.begin(tile)) * kAmxRows;
        StoreResults(from, kAmxRows, tiles.end(tile) - fresh, row_stop - row, out, fresh, row);
      };
      multiply(tiles, packed + row / kRowTile * tile_bytes, next, results, store);
    }
  }
  _tile_release();
}

}  // namespace HWY_NAMESPACE
}  // namespace INLAY_ABI_NAMESPACE
}  // namespace inlay
HWY_AFTER_NAMESPACE();

#endif  // INLAY_AMX

#endif  // toggle guard
