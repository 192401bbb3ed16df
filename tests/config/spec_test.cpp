#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <type_traits>

#include "inlay/config/known_models.hpp"
#include "inlay/config/spec.hpp"

namespace {

using Small = inlay::StaticSpec<inlay::kStories260K>;
using Large = inlay::StaticSpec<inlay::kTinyLlama1_1B>;

}  // namespace

BOOST_AUTO_TEST_SUITE(config_spec)

BOOST_AUTO_TEST_CASE(StaticAndDynamicGiveTheSameNumbers) {
  for (const inlay::KnownModel& model : inlay::kKnownModels) {
    const inlay::DynamicSpec spec(*model.config);
    BOOST_TEST(std::size_t{spec.dim()} == model.config->dim);
    BOOST_TEST(std::size_t{spec.mixed_dim()} == model.config->mixed_dim());
    BOOST_TEST(std::size_t{spec.ffn_dim()} == model.config->ffn_dim);
    BOOST_TEST((spec.config() == *model.config));
  }
  BOOST_TEST(std::size_t{Small::dim()} == 64u);
  BOOST_TEST(std::size_t{Small::mixed_dim()} == 64u);
  BOOST_TEST(std::size_t{Small::ffn_dim()} == 172u);
  BOOST_TEST(std::size_t{Large::dim()} == 2048u);
  BOOST_TEST(std::size_t{Large::ffn_dim()} == 5632u);
}

// Narrow widths are compiled in, wide ones are not: they would only cost compile time.
BOOST_AUTO_TEST_CASE(OnlyNarrowWidthsAreConstants) {
  static_assert(std::is_same_v<decltype(Small::dim()), inlay::StaticExtent<64>>);
  static_assert(std::is_same_v<decltype(Small::ffn_dim()), inlay::StaticExtent<172>>);
  static_assert(std::is_same_v<decltype(Large::dim()), inlay::DynamicExtent>);
  static_assert(Small::kIsStatic && Large::kIsStatic && !inlay::DynamicSpec::kIsStatic);
  static_assert(Small::config() == inlay::kStories260K);
  BOOST_TEST((Small::config() == inlay::kStories260K));
}

BOOST_AUTO_TEST_SUITE_END()
