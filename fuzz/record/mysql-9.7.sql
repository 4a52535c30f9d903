-- What only a MySQL of 8.3 and later logs: tags.
USE fuzz;
SET gtid_next = 'AUTOMATIC:blue';
INSERT INTO small (id, a) VALUES (20, 'twenty');
SET gtid_next = 'AUTOMATIC:a_tag_of_thirty_two_characters_';
DELETE FROM small WHERE id = 20;
SET gtid_next = 'AUTOMATIC';
