use std::string::ToString as _;
use std::vec::Vec;

use super::*;

/// A machine, and its published ids of kinds 0 to 14; an empty one does not exist.
struct Published {
    fields: Fields<'static>,
    ids: [&'static str; 15],
}

const PUBLISHED: [Published; 4] = [
    // A laptop with every field.
    Published {
        fields: Fields {
            manufacturer: Some("LENOVO"),
            family: Some("ThinkPad X13s Gen 1"),
            product_name: Some("4810QL0100"),
            product_sku: Some("LENOVO_MT_4810_BU_Think_FM_ThinkPad X13s Gen 1"),
            board_manufacturer: Some("LENOVO"),
            board_product: Some("4810QL0100"),
            bios_vendor: Some("LENOVO"),
            bios_version: Some("N3HET94W (1.66 )"),
            bios_major: Some(1),
            bios_minor: Some(66),
            enclosure: Some(10),
            panel: None,
        },
        ids: [
            "e4e1e851-389a-5be8-bc77-d32bc3e96ba2",
            "a84d13c1-3864-5d56-8c7c-15ad37074a3f",
            "6026ec60-e5e0-56bf-9d71-f3465d7314c8",
            "dc4ecdd0-c09b-5e84-ac5f-ccf0182e1ec6",
            "04392ed0-22bc-56a4-ae4e-dcb325cb6899",
            "6d8e538a-e089-5901-97ed-5ef670416fca",
            "93a4dd46-2007-56bf-b176-390519d6f5bd",
            "4a971ccf-1223-5f4d-b939-dcb8efc0b350",
            "56eafd87-9fbc-5388-a5fd-ec9a9178fb1c",
            "5188008f-3241-5f05-8d21-774b5c7a2887",
            "1305c7fb-2943-53e5-aba5-5a948d96ed94",
            "f249803d-0d95-54f3-a28f-f26c14a03f3b",
            "e093d715-70f7-51f4-b6c8-b4a7e31def85",
            "86a88b51-0f55-5ada-b232-41a5483b0797",
            "6de5d951-d755-576b-bd09-c5cf66b27234",
        ],
    },
    // Another one of its maker: some of the vague kinds are equal.
    Published {
        fields: Fields {
            manufacturer: Some("LENOVO"),
            family: Some("ThinkPad T14s Gen 7"),
            product_name: Some("22A8S0070G"),
            product_sku: Some("LENOVO_MT_22A8_BU_Think_FM_ThinkPad T14s Gen 7"),
            board_manufacturer: Some("LENOVO"),
            board_product: Some("22A8S0070G"),
            bios_vendor: Some("LENOVO"),
            bios_version: Some("N4PET33W (1.14 )"),
            bios_major: Some(1),
            bios_minor: Some(14),
            enclosure: Some(10),
            panel: None,
        },
        ids: [
            "758672bf-65be-5f10-96e4-719df8ca161e",
            "25498703-3c8e-58c9-be3e-38e8dfd7cb73",
            "4f33046c-af30-5424-8674-8b6ba5592552",
            "04a3bbfc-f7c3-5ce2-8c58-c06b844535fa",
            "9df8e52b-85b3-5978-ac17-7493fab6b05d",
            "94107b37-66dd-5424-817d-577d57719b0a",
            "fc3fa17e-a472-5913-87a2-d849d0131a83",
            "bf388658-4b99-5264-bf8d-2aa30c293a81",
            "038c565b-5fec-5b37-b798-6614ceb99865",
            "5cfe7f3b-8c25-581b-a46e-8320e794fd5c",
            "9891628b-598a-5ea6-bb16-1a260a065bc6",
            "19d9992e-faf3-56e7-9b36-3ef41c51ece3",
            "e093d715-70f7-51f4-b6c8-b4a7e31def85",
            "abda1e4a-6cf7-51b2-aece-72f6f1d42cc6",
            "6de5d951-d755-576b-bd09-c5cf66b27234",
        ],
    },
    // A board that says nothing of board and enclosure.
    Published {
        fields: Fields {
            manufacturer: Some("Qualcomm"),
            family: Some("SCP_HAMOA"),
            product_name: Some("CRD"),
            product_sku: Some("6"),
            board_manufacturer: None,
            board_product: None,
            bios_vendor: Some("Qualcomm Technologies, Inc."),
            bios_version: Some("6.0.240718.BOOT.MXF.2.4-00515-HAMOA-1"),
            bios_major: Some(255),
            bios_minor: Some(255),
            enclosure: None,
            panel: None,
        },
        ids: [
            "e73870a5-90e8-528d-93fd-3da59f78df18",
            "2405af0b-d21d-5196-a228-4acffe7b3a10",
            "8fa88c58-23eb-5aea-9ea7-c4a98ded7352",
            "",
            "7faef667-9eb2-53f4-9764-26fe0e92fbff",
            "b6d4eee8-30f3-564a-8246-e83935cf8dbb",
            "",
            "4bb05d50-6c4f-525d-a9ec-8924afd6edea",
            "",
            "339fc6d2-e0f4-5226-9dd9-62c4dc41881d",
            "",
            "b36a40fa-4640-5b1b-8fa1-6dbde103c80d",
            "",
            "",
            "0d601876-0ac6-533e-8386-3a58203d8c33",
        ],
    },
    // A PC whose stock number and family are the same filler.
    Published {
        fields: Fields {
            manufacturer: Some("Micro-Star International Co., Ltd."),
            family: Some("To be filled by O.E.M."),
            product_name: Some("MS-7D70"),
            product_sku: Some("To be filled by O.E.M."),
            board_manufacturer: Some("Micro-Star International Co., Ltd."),
            board_product: Some("MPG X670E CARBON WIFI (MS-7D70)"),
            bios_vendor: Some("American Megatrends International, LLC."),
            bios_version: Some("1.E5"),
            bios_major: Some(5),
            bios_minor: Some(32),
            enclosure: Some(3),
            panel: None,
        },
        ids: [
            "f59668ca-22bc-52a0-b6b5-1f6ce81b08e0",
            "f735f7a0-40da-5bfe-8ac2-0090532ee6d0",
            "25880e68-e005-5ca7-88b6-650de596604f",
            "01e09b32-de05-56ca-b9d1-9486ad5f381d",
            "cad87a11-1813-507b-9aab-9a5f457b649c",
            "377c823d-60d1-55b0-9678-76cd2af9d086",
            "28ac9cf2-5bde-59f7-aebe-4b3d008090fe",
            "e821e0e2-e11a-5e94-bf5d-ffe53c5e5048",
            "1c092f1d-dc7b-564f-8a3d-128d7292fab8",
            "c12c1f4a-332d-5d72-aa36-7a3d413b479a",
            "28ac9cf2-5bde-59f7-aebe-4b3d008090fe",
            "e821e0e2-e11a-5e94-bf5d-ffe53c5e5048",
            "bdd76d3e-147f-58a9-a0b2-42136454ed07",
            "b2e58e8b-fb10-5cd0-8fb0-5bd931f1871a",
            "50af5797-a2f2-58b1-9a1a-453bcbb2e025",
        ],
    },
];

fn chid(text: &str) -> Option<Chid> {
    Chid::parse(text)
}

#[test]
fn published_ids_are_made_again() {
    let mut count = 0;
    for Published { fields, ids } in &PUBLISHED {
        for (kind, id) in Kind::all().zip(ids) {
            assert_eq!(kind.chid(fields), chid(id), "{kind} of {:?}", fields.product_name);
            count += usize::from(!id.is_empty());
        }
    }
    assert_eq!(count, 54);
}

/// That id stands in lists for three laptops: a maker's name and nothing.
#[test]
fn an_empty_field_makes_no_id() {
    let shipped = chid("7c107a7f-2d77-51aa-aef8-8d777e26ffbc");
    let mut hash = Sha1::new();
    hash.update(&NAMESPACE);
    put(&mut hash, "Acer&");
    assert_eq!(hash.finish()[..4], [0x7c, 0x10, 0x7a, 0x7f]);
    for sku in [None, Some(""), Some(" "), Some("0"), Some("  000 ")] {
        let fields = Fields { manufacturer: Some("Acer"), product_sku: sku, ..Fields::default() };
        assert!(Kind::all().all(|kind| kind.chid(&fields) != shipped), "{sku:?}");
        assert_eq!(Kind(7).chid(&fields), None);
        let made: Vec<_> = Kind::all().filter(|kind| kind.chid(&fields).is_some()).collect();
        assert_eq!(made, [Kind(14)]);
    }
    assert!(Kind::all().all(|kind| kind.chid(&Fields::default()).is_none()));
}

/// The server and the tablet of one maker with one stock number.
#[test]
fn two_fields_are_known_to_be_weak() {
    let server = Fields {
        manufacturer: Some("HUAWEI"),
        product_sku: Some("C233"),
        product_name: Some("W510"),
        ..Fields::default()
    };
    assert_eq!(Kind(7).chid(&server), chid("7ea8b73b-2cbb-562b-aecc-7f0f64c42630"));
    let weak: Vec<_> = Kind::all().filter(|kind| kind.is_weak()).map(Kind::number).collect();
    assert_eq!(weak, [7, 9, 11, 12, 14]);
}

#[test]
fn fields_are_trimmed_as_others_trim_them() {
    let plain = Fields { manufacturer: Some("Maker 0"), ..Fields::default() };
    for text in ["  Maker 0", "00Maker 0", " 0Maker 0  "] {
        let fields = Fields { manufacturer: Some(text), ..Fields::default() };
        assert_eq!(Kind(14).chid(&fields), Kind(14).chid(&plain), "{text}");
    }
    // First the blanks, then the zeros, and not the blanks behind these.
    let fields = Fields { manufacturer: Some("0 Maker 0"), ..Fields::default() };
    assert_ne!(Kind(14).chid(&fields), Kind(14).chid(&plain));
}

#[test]
fn panels_are_named_by_maker_and_product() {
    let mut edid = [0; 128];
    edid[..8].copy_from_slice(&[0, 255, 255, 255, 255, 255, 255, 0]);
    edid[8..12].copy_from_slice(&[0x4c, 0x83, 0x95, 0x41]);
    assert_eq!(Panel::from_edid(&edid).unwrap().name(), "SDC4195");
    for len in 0..128 {
        assert_eq!(Panel::from_edid(&edid[..len]), None);
    }
    for maker in [[0, 0], [0x4c, 0x9f], [0x6c, 0x83 & 0xe0], [0x7f, 0xff]] {
        let mut changed = edid;
        changed[8..10].copy_from_slice(&maker);
        assert_eq!(Panel::from_edid(&changed), None, "{maker:?}");
    }
    edid[0] = 1;
    assert_eq!(Panel::from_edid(&edid), None);
}

#[test]
fn ids_of_panels_need_the_panel() {
    let mut fields = PUBLISHED[0].fields;
    assert!([15, 16, 17].iter().all(|kind| Kind(*kind).chid(&fields).is_none()));
    fields.panel = Some(Panel(*b"SDC4195"));
    // There are no published values for these ids. Another program made them, and it also makes the
    // published ones.
    for (kind, id) in [
        (15, "1e881602-5399-584a-ade9-b6ae9cae769d"),
        (16, "e014e330-15a1-598f-98f2-14e25c0feea3"),
        (17, "ee4a02ed-da13-56da-bc62-7861ca8b4279"),
    ] {
        assert_eq!(Kind(kind).chid(&fields), chid(id), "{kind}");
    }
    // And the others stay as they are.
    assert_eq!(Kind(3).chid(&fields), chid(PUBLISHED[0].ids[3]));
}

/// The order that systemd documents and follows.
#[test]
fn trees_are_chosen_by_the_most_exact_kind() {
    let order = Kind::BY_PRIORITY.map(Kind::number);
    assert_eq!(order, [17, 16, 15, 3, 6, 8, 10, 4, 5, 7, 9, 11]);
}

#[test]
fn ids_are_read_as_they_are_written() {
    let text = "7c107a7f-2d77-51aa-aef8-8d777e26ffbc";
    let id = chid(text).unwrap();
    assert_eq!(id.to_string(), text);
    assert_eq!(id.to_table()[..6], [0x7f, 0x7a, 0x10, 0x7c, 0x77, 0x2d]);
    assert_eq!(Chid::from_table(id.to_table()), id);
    let braces = std::format!("{{{}}}", text.to_uppercase());
    assert_eq!(chid(&braces), Some(id));
    for bad in ["", "{}", "7c107a7f", &text[1..], &text.replace('-', ":"), &text.replace('a', "g")]
    {
        assert_eq!(chid(bad), None, "{bad}");
    }
}
