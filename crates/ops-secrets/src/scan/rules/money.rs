//! Payments, shops and money.

use super::{Check, Rule, near, token};

pub(super) const RULES: &[Rule] = &[
    token(
        "stripe-key",
        "Stripe secret key",
        &[
            "sk_live_<an:24-247>",
            "sk_test_<an:24-247>",
            "rk_live_<an:24-247>",
            "rk_test_<an:24-247>",
            "sk_prod_<an:24-247>",
            "sk_org_<an:24-247>",
        ],
    ),
    token("stripe-webhook-secret", "Webhook signing secret", &["whsec_<b64e:32-80>"]),
    token(
        "square-token",
        "Square token",
        &["sq0atp-<url:22>", "sq0csp-<url:43>", "EAAAl<url:55-60>", "EAAAE<url:55-60>"],
    ),
    token(
        "braintree-token",
        "Braintree access token",
        &["access_token$production$<low:16>$<hex:32>", "access_token$sandbox$<low:16>$<hex:32>"],
    ),
    near("paypal-secret", "PayPal secret", &["paypal"], &["E<url:79>"]),
    near("adyen-key", "Adyen key", &["adyen"], &["AQE<any:80-300>"]),
    near("razorpay-secret", "Razorpay secret", &["razorpay", "rzp_"], &["<an:24>"]),
    token("razorpay-key-id", "Razorpay key id", &["rzp_live_<an:14>"]).likely(),
    token(
        "flutterwave-key",
        "Flutterwave key",
        &["FLWSECK-<hex:32>-X", "FLWSECK_TEST-<hex:32>-X", "FLWSECK-<hex:32>-<an:12>vt-X"],
    ),
    near("mollie-key", "Mollie key", &["mollie"], &["live_<an:30>", "test_<an:30>"]),
    near("gocardless-token", "GoCardless token", &["gocardless"], &["live_<url:40>", "sandbox_<url:40>"]),
    token(
        "plaid-token",
        "Plaid access token",
        &["access-production-<uuid>", "access-sandbox-<uuid>", "access-development-<uuid>"],
    ),
    near("plaid-secret", "Plaid secret", &["plaid"], &["<hex:30>"]),
    near("coinbase-key", "Coinbase key", &["coinbase"], &["<url:64>", "<an:32>", "<b64:86>=="]),
    near("binance-secret", "Binance secret", &["binance"], &["<an:64>"]),
    near("kraken-secret", "Kraken secret", &["kraken"], &["<b64:86>=="]),
    near("kucoin-secret", "KuCoin secret", &["kucoin"], &["<uuid>"]),
    near(
        "checkout-com-key",
        "Checkout.com secret key",
        &["checkout", "cko_"],
        &["sk_<uuid>", "sk_test_<uuid>", "sk_<low:28>", "sk_sbox_<low:28>"],
    ),
    near("chargebee-key", "Chargebee key", &["chargebee"], &["live_<an:30-40>", "test_<an:30-40>"]),
    near("wise-token", "Wise token", &["transferwise", "wise_"], &["<uuid>"]),
    token("xendit-key", "Xendit key", &["xnd_production_<an:40-80>", "xnd_development_<an:40-80>"]),
    token("midtrans-key", "Midtrans server key", &["Mid-server-<url:24>"]),
    token(
        "paddle-key",
        "Paddle key",
        &[
            "pdl_live_apikey_<low:26>_<an:22>_<an:3>",
            "pdl_sdbx_apikey_<low:26>_<an:22>_<an:3>",
            "pdl_ntfset_<low:26>_<b64:32>",
        ],
    ),
    token(
        "mercadopago-token",
        "Mercado Pago token",
        &["APP_USR-<num:12-16>-<num:6>-<hex:32>-<num:6-10>", "TEST-<num:12-16>-<num:6>-<hex:32>-<num:6-10>"],
    ),
    token(
        "shopify-token",
        "Shopify token",
        &[
            "shpat_<Hex:32>",
            "shpca_<Hex:32>",
            "shppa_<Hex:32>",
            "shpss_<Hex:32>",
            "shptka_<Hex:32>",
            "shpua_<Hex:32>",
        ],
    ),
    token("easypost-key", "EasyPost key", &["EZAK<an:54>", "EZTK<an:54>"]),
    token("shippo-token", "Shippo token", &["shippo_live_<hex:40>", "shippo_test_<hex:40>"]),
    near("lob-key", "Lob key", &["lob_"], &["live_<hex:35>", "test_<hex:35>"]),
    token("duffel-token", "Duffel token", &["duffel_live_<url:43>", "duffel_test_<url:43>"]),
    near(
        "bitcoin-private-key",
        "Bitcoin private key",
        &["bitcoin", "btc_", "wif", "privkey", "private_key"],
        &["5<an:50>", "K<an:51>", "L<an:51>"],
    )
    .checked(Check::Wif),
    near(
        "ethereum-private-key",
        "Ethereum private key",
        &["private_key", "privatekey", "eth_priv", "wallet", "deployer_key", "mnemonic"],
        &["0x<Hex:64>", "<Hex:64>"],
    ),
    near("infura-key", "Infura key", &["infura"], &["<hex:32>"]),
    near("alchemy-key", "Alchemy key", &["alchemy"], &["<url:32>"]),
    near("etherscan-key", "Etherscan key", &["etherscan", "bscscan", "polygonscan"], &["<up:34>"]),
    token("highnote-key", "Highnote key", &["sk_rk_<an:30-60>"]).likely(),
];
